//! One collection: open the pins, walk the maps, put together what was found.
//!
//! In: the loaded programs, the bpffs root, settings. Out: a [`Snapshot`].
//! Must not: fail as a whole. What one map or one source cannot tell stands in its own place, with the reason.

mod callers;
mod counts;
mod evictions;
mod learn;
mod maps;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use monitor_abi::class::DUE_BOUNDS;
use monitor_abi::scan::{Clock, found};
use monitor_decode::host::cpus::parse_cpu_list;
use monitor_decode::host::fdinfo::parse_memlock;
use monitor_decode::scan::{PairCells, map_scan, pair_cells, target_states};
use monitor_decode::timeouts::TimeoutCounts;
use monitor_model::agent_config::AgentConfig;
use monitor_model::clock::{Clocks, Reading};
use monitor_model::drops::Drops;
use monitor_model::eviction_plan::Choice;
use monitor_model::judge::stale_after_units;
use monitor_model::map_name::{self, MapName, MapProblem, ProblemReason};
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{
    ClockFacts, Content, Evictions, HostTargetFacts, MapScan, MapState, PresentMap, Snapshot, SourceState,
    TargetState, TimeoutFact, Totals, report_interval,
};
use monitor_model::target::TargetIndex;
use monitor_model::walk::{Step, Visitor};

use self::counts::Counts;
use self::evictions::{Ledger, Moment};
use self::maps::{Known, Seen};
use super::bpf::{Ask, Kernel, ScanError, bounds_in_units, sys};
use super::cilium::gc::{self, GcWatch};
use super::cilium::timeouts::{Timeouts, configured};
use super::cilium::{agent_config, drops, pins};
use super::host::Host;
use super::host::collect::{HostCollector, Wanted};
use super::host::targets::HostTargets;
use super::timed::timed;

/// Walking the maps and reading logs may together take one part in this many of one core.
pub const SHARE_OF_A_CORE: u32 = 200;
/// Of what an interval allows, logs may take one part in this many: walks come first.
const SHARE_OF_LOGS: u32 = 2;
/// Slots whose empty buckets alone hold a core for 10 ms: nothing can interrupt a run of them.
const SPARSE_SLOTS: u64 = 1 << 21;
/// The time between two walks of a map of [`SPARSE_SLOTS`]; twice the slots, twice the time.
const SPARSE_INTERVAL: Duration = Duration::from_secs(60);
/// What a map's programs found odd is logged this often at the most.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// What a collection follows; replaced as a whole when the configuration is reloaded.
#[derive(Clone, Debug)]
pub struct CollectSettings {
    /// Where bpffs is mounted.
    pub bpffs: PathBuf,
    /// Where the node's files are.
    pub host: Host,
    /// What is read of the node beside the maps.
    pub wanted: Wanted,
    pub interval: Duration,
    pub stale_after: Duration,
    /// `None`: find out from the entries.
    pub clock: Option<Clock>,
    /// As configured; those from the host follow them.
    pub targets: TargetIndex,
    /// How evictions are followed; what a collector starts with was decided when its programs were loaded.
    pub evictions: Choice,
}

/// Collects again and again, and remembers what only time tells.
pub struct Collector {
    kernel: Kernel,
    settings: CollectSettings,
    /// What entries are given to: the configured targets, and those from the host.
    targets: TargetIndex,
    /// The host's servers that are in it, and what found no room.
    from_host: (HostTargets, HostTargetFacts),
    host: HostCollector,
    known: BTreeMap<MapName, Known>,
    seen: BTreeMap<MapName, Seen>,
    clock: Clock,
    hz: Option<u32>,
    first_clocks: Option<Clocks>,
    timeouts: Timeouts,
    agent: Option<AgentConfig>,
    gc: GcWatch,
    /// The kernel's own counts since the last collection.
    counts: Counts,
    count_logged: Option<Duration>,
    totals: Totals,
    logged: Option<Duration>,
    ledger: Ledger,
    /// Maps whose address could not be taken off the list of watched ones: closing them would free it for others.
    held: Vec<Known>,
}

/// A walk, decoded.
#[derive(Clone)]
struct Walked {
    scan: MapScan,
    targets: PairCells,
    shown: TimeoutCounts,
    /// Clock of the walk.
    decided: bool,
}

impl Collector {
    /// Starts with loaded programs.
    pub fn new(mut kernel: Kernel, settings: CollectSettings) -> Result<Self, ScanError> {
        kernel.set_targets(settings.targets.tables())?;
        let mut host = HostCollector::default();
        host.follow_logs(&settings.wanted.logs);
        Ok(Self {
            first_clocks: kernel.clocks().ok(),
            kernel,
            targets: settings.targets.clone(),
            from_host: Default::default(),
            host,
            clock: settings.clock.unwrap_or(Clock::Undecided),
            settings,
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            hz: None,
            timeouts: Timeouts::default(),
            agent: None,
            gc: GcWatch::default(),
            counts: Counts::default(),
            count_logged: None,
            totals: Totals::default(),
            logged: None,
            ledger: Ledger::default(),
            held: Vec::new(),
        })
    }

    /// Follows other settings from the next collection on.
    pub fn reconfigure(&mut self, settings: CollectSettings) -> Result<(), ScanError> {
        let found = if settings.wanted.targets { self.from_host.0.clone() } else { HostTargets::default() };
        self.retarget(&settings.targets, found)?;
        if settings.evictions != self.settings.evictions
            && let Err(error) = self.kernel.watch_evictions(settings.evictions)
        {
            tracing::error!(%error, "failed to change how evictions are followed");
        }
        if settings.clock != self.settings.clock {
            self.clock = settings.clock.unwrap_or(Clock::Undecided);
        }
        if settings.wanted.logs != self.settings.wanted.logs {
            self.host.follow_logs(&settings.wanted.logs);
        }
        self.settings = settings;
        Ok(())
    }

    /// The loaded programs, for whoever streams entries between two collections.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// What entries are given to.
    #[must_use]
    pub fn targets(&self) -> &TargetIndex {
        &self.targets
    }

    /// What is being followed.
    #[must_use]
    pub fn settings(&self) -> &CollectSettings {
        &self.settings
    }

    /// Opens every pin there is; returns those that cannot be read.
    pub fn open_all(&mut self) -> Vec<MapProblem> {
        let (names, _, _) = self.names();
        names.iter().filter_map(|name| self.open(name).err()).collect()
    }

    /// The maps that are open.
    #[must_use]
    pub fn open_maps(&self) -> Vec<MapName> {
        self.known.keys().cloned().collect()
    }

    /// The ids of the maps that are open.
    pub fn open_ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.known.iter().map(|(name, known)| (name.name.as_str(), known.open.info.id))
    }

    /// Whether a map that is wanted is open.
    pub fn has_open(&self, wanted: impl Fn(&MapName) -> bool) -> bool {
        self.known.keys().any(wanted)
    }

    /// Walks the open maps that are wanted, in display order, entry by entry, until the visitor breaks.
    pub fn stream(
        &mut self,
        wanted: impl Fn(&MapName) -> bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ScanError> {
        for name in self.names().0.into_iter().filter(wanted) {
            let Some(known) = self.known.get(&name) else { continue };
            let clocks = self.kernel.clocks()?;
            let reading = reading(self.clock, clocks, self.hz);
            let mut broke = visitor(Step::Map { name: &name.name, clock: reading }).is_break();
            if !broke {
                self.kernel.stream(&known.link, |_, key, value| {
                    let flow = visitor(Step::Entry { key, value });
                    broke = flow.is_break();
                    flow
                })?;
            }
            if broke {
                break;
            }
        }
        Ok(())
    }

    /// Collects once.
    pub fn collect(&mut self) -> Snapshot {
        let (wall, monotonic) = (SystemTime::now(), sys::monotonic());
        let mut told = Vec::new();
        self.read_agent_config(&mut told);
        let storage = self.follow_host();
        let (names, maps_skipped, listing_error) = self.names();
        self.drop_unlisted(&names);
        let opened: Vec<_> = names.into_iter().map(|name| (self.open(&name), name)).collect();
        self.learn();
        let targets = self.kernel.target_words();
        if let Err(error) = self.kernel.tracker().tell(self.clock, targets) {
            tracing::warn!(%error, "failed to tell the eviction program its clock");
        }
        self.count();
        let mut maps: Vec<_> =
            opened.into_iter().map(|(opened, name)| self.walk(name, opened, monotonic)).collect();
        self.watch_gc(&mut maps, monotonic);
        self.counts.begin();
        self.watch_timeouts(&mut maps);
        let evictions = self.settle(wall, monotonic);
        self.check_clock();
        self.kernel.flush_log();
        self.totals.scans += 1;
        let walked = sys::monotonic().saturating_sub(monotonic);
        let mut sources = vec![
            source("conntrack", &maps, MapName::is_conntrack, walked, listing_error.clone(), &self.settings),
            source("nat", &maps, |map| !map.is_conntrack(), walked, listing_error, &self.settings),
        ];
        sources.append(&mut told);
        let drops = self.read_drops(&mut sources);
        let CollectSettings { host, wanted, .. } = &self.settings;
        let facts = self.from_host.1.clone();
        self.host.allow_logs(self.settings.interval / SHARE_OF_A_CORE / SHARE_OF_LOGS);
        let host = self.host.collect(host, wanted, storage, &self.targets, facts, &mut sources);
        let duration = sys::monotonic().saturating_sub(monotonic);
        Snapshot {
            wall,
            monotonic,
            duration,
            interval: self.interval(),
            totals: self.totals,
            clock: ClockFacts { mode: self.clock, forced: self.settings.clock.is_some(), hz: self.hz },
            timeouts: self.timeout_facts(),
            maps_skipped,
            targets: self.target_states(),
            evictions,
            callers: Vec::new(),
            map_count: self.kernel.counter().plan().clone(),
            agent: self.agent.clone(),
            drops,
            deep: None,
            host,
            sources,
            maps,
        }
    }

    /// Takes over what was evicted since the last time.
    fn settle(&mut self, wall: SystemTime, monotonic: Duration) -> Evictions {
        let moment =
            Moment { targets: &self.targets, clock: self.clock, hz: self.hz.unwrap_or(0), wall, monotonic };
        if let Err(error) = self.ledger.settle(self.kernel.tracker(), &moment) {
            tracing::warn!(%error, "failed to read what was evicted");
        }
        self.ledger.evictions(self.kernel.tracker(), &moment)
    }

    fn walk(&mut self, name: MapName, opened: Result<bool, MapProblem>, monotonic: Duration) -> MapState {
        let recreations = self.seen.get(&name).map_or(0, |seen| seen.recreations);
        let content = match opened {
            Ok(true) => self.present(&name, monotonic).unwrap_or_else(|problem| {
                self.totals.scan_errors += 1;
                Content::Problem(problem)
            }),
            Ok(false) => Content::Absent,
            Err(problem) => Content::Problem(problem),
        };
        MapState { map: name, content, recreations }
    }

    fn present(&mut self, name: &MapName, monotonic: Duration) -> Result<Content, MapProblem> {
        let ask = self.ask(monotonic);
        let hz = self.hz.unwrap_or(0);
        let Some(known) = self.known.get_mut(name) else { return Ok(Content::Absent) };
        let info = known.open.info;
        let interval = self.settings.interval.max(sparse_interval(info.max_entries));
        let due = known.last.as_ref().is_none_or(|last| {
            // A quarter of an interval early still counts as this turn, so that jitter does not skip one.
            monotonic.saturating_sub(last.scan.monotonic) + self.settings.interval / 4 >= interval
        });
        if due {
            let before = sys::thread_cpu_time();
            let raw = self.kernel.scan(&known.link, &ask).map_err(|error| scan_problem(name, &error))?;
            let reading = Reading { mode: self.clock, now: low_half(raw.word(found::NOW)), hz };
            if raw.word(found::ODD_FLAGS) + raw.word(found::ODD_NEXTHDR) > 0 && ask.log {
                self.logged = Some(monotonic);
            }
            let cost = sys::thread_cpu_time().saturating_sub(before);
            if let Err(error) = self.ledger.saw(self.kernel.tracker(), name, raw.word(found::MAP_ADDRESS)) {
                tracing::warn!(map_name = %name, %error, "failed to start counting evictions");
            }
            known.last = Some(Walked {
                scan: map_scan(name, &raw, reading, monotonic, cost, interval),
                targets: pair_cells(&raw, reading),
                shown: TimeoutCounts::of(&raw),
                decided: self.clock != Clock::Undecided,
            });
        }
        let Some(last) = &known.last else { return Ok(Content::Absent) };
        let cpus = pins::is_per_cpu(&info).then(|| possible_cpus(&self.settings)).flatten();
        Ok(Content::Present(PresentMap {
            id: info.id,
            key_size: info.key_size,
            value_size: info.value_size,
            capacity: info.max_entries,
            flags: info.map_flags,
            percpu_share: cpus.and_then(|cpus| info.max_entries.checked_div(cpus)),
            memory_bytes: memory_bytes(&self.settings, known.open.fd.as_raw_fd()),
            scan: last.scan.clone(),
            kernel: self.counts.of(info.id),
            gc: None,
        }))
    }

    /// Compares the conntrack maps with what they were at the last scan.
    fn watch_gc(&mut self, maps: &mut [MapState], now: Duration) {
        let unit = Reading { mode: self.clock, now: 0, hz: self.hz.unwrap_or(0) }.unit();
        self.gc.observe(maps.iter().filter(|map| map.map.is_conntrack()).filter_map(|map| {
            let Content::Present(present) = &map.content else { return None };
            Some((
                &map.map,
                present.id,
                unit.and_then(|unit| gc::Sample::of(&present.scan, unit, present.capacity.into())),
            ))
        }));
        for map in maps {
            if let Content::Present(present) = &mut map.content {
                present.gc = self.gc.facts(&map.map, now);
            }
        }
    }

    /// Takes over which timeouts the entries show, and counts those that show none.
    fn watch_timeouts(&mut self, maps: &mut [MapState]) {
        self.timeouts.observe(self.known.values().filter_map(|known| Some(&known.last.as_ref()?.shown)));
        let clock = Some(Reading { mode: self.clock, now: 0, hz: self.hz.unwrap_or(0) });
        let told = self.agent.as_ref().and_then(|agent| agent.ct_timeouts.regular_tcp_fin);
        let interval = report_interval(self.agent.as_ref());
        for map in maps.iter_mut().filter(|map| map.map.is_conntrack()) {
            if let Content::Present(present) = &mut map.content
                && let Some(last) = self.known.get(&map.map).and_then(|known| known.last.as_ref())
            {
                present.scan.odd_lifetimes = self.timeouts.odd(&last.shown, told, interval, clock);
            }
        }
    }

    fn ask(&self, monotonic: Duration) -> Ask {
        let log = self.logged.is_none_or(|logged| monotonic.saturating_sub(logged) >= LOG_INTERVAL);
        let reading = Reading { mode: self.clock, now: 0, hz: self.hz.unwrap_or(0) };
        // In jiffies mode without a frequency nothing can be said in seconds.
        let Some(bounds) = bounds_in_units(DUE_BOUNDS, reading) else {
            return Ask { log, ..Ask::default() };
        };
        let stale_after = stale_after_units(self.settings.stale_after, Some(reading)).unwrap_or(u32::MAX);
        Ask { clock: self.clock, bounds, stale_after, log }
    }

    /// What Cilium was told, then what the entries show.
    fn timeout_facts(&self) -> Vec<TimeoutFact> {
        let told = self.agent.iter().flat_map(|agent| configured(&agent.ct_timeouts));
        let clock = Some(Reading { mode: self.clock, now: 0, hz: self.hz.unwrap_or(0) });
        told.chain(self.timeouts.facts(clock)).collect()
    }

    /// Reads the copy of Cilium's configuration anew: it is mounted, and changes.
    fn read_agent_config(&mut self, sources: &mut Vec<SourceState>) {
        let host = &self.settings.host;
        self.agent = timed(sources, "cilium_config", || agent_config::read_agent_config(host));
    }

    /// Two sources: one that cannot be read takes nothing from the other.
    fn read_drops(&self, sources: &mut Vec<SourceState>) -> Option<Drops> {
        let bpffs = &self.settings.bpffs;
        let packets = timed(sources, "drops", || drops::read_packets(bpffs));
        let retries = timed(sources, "nat_retries", || drops::read_retries(bpffs)).unwrap_or_default();
        (packets.is_some() || !retries.is_empty()).then_some(Drops { packets, retries })
    }

    fn target_states(&self) -> Vec<TargetState> {
        let walks: Vec<_> = self.known.values().filter_map(|known| known.last.as_ref()).collect();
        let decided = walks.iter().all(|walk| walk.decided) && self.clock != Clock::Undecided;
        target_states(&self.targets, &walks.iter().map(|walk| &walk.targets), decided)
    }

    /// The configured interval, or longer where walking and reading logs would take more than their share of a core.
    fn interval(&self) -> Duration {
        let walks = self.known.values().filter_map(|known| known.last.as_ref()).map(|last| last.scan.cost);
        stretched(self.settings.interval, walks.chain([self.host.log_cost()]))
    }
}

/// The interval in which these costs are no more than their share of a core.
fn stretched(interval: Duration, costs: impl Iterator<Item = Duration>) -> Duration {
    interval.max(costs.sum::<Duration>().saturating_mul(SHARE_OF_A_CORE))
}

fn scan_problem(name: &MapName, error: &ScanError) -> MapProblem {
    let detail = format!("failed to walk map {name}: {}", one_line(error));
    MapProblem { reason: ProblemReason::Scan, detail }
}

fn source(
    name: &'static str,
    maps: &[MapState],
    belongs: impl Fn(&MapName) -> bool,
    duration: Duration,
    listing_error: Option<String>,
    settings: &CollectSettings,
) -> SourceState {
    let mine: Vec<_> = maps.iter().filter(|map| belongs(&map.map)).collect();
    let problem = mine.iter().find_map(|map| match &map.content {
        Content::Problem(problem) => Some(problem.detail.clone()),
        Content::Absent | Content::Present(_) => None,
    });
    let nothing = name == "conntrack" && mine.iter().all(|map| matches!(map.content, Content::Absent));
    let none = || {
        nothing.then(|| {
            let globals = settings.bpffs.join(map_name::GLOBALS);
            format!("no conntrack map is pinned below {}: is Cilium running on this node?", globals.display())
        })
    };
    SourceState { name, duration, error: listing_error.or(problem).or_else(none) }
}

/// Slots a hash map of this size walks: the kernel rounds up to a power of two.
fn sparse_interval(max_entries: u32) -> Duration {
    let slots = u64::from(max_entries).next_power_of_two();
    if slots < SPARSE_SLOTS {
        return Duration::ZERO;
    }
    SPARSE_INTERVAL.saturating_mul(u32::try_from(slots / SPARSE_SLOTS).unwrap_or(u32::MAX))
}

/// What the kernel accounts to the map behind this process's descriptor.
fn memory_bytes(settings: &CollectSettings, fd: i32) -> Option<u64> {
    parse_memlock(&fs::read_to_string(settings.host.proc(format!("self/fdinfo/{fd}"))).ok()?)
}

/// CPUs the kernel could ever have: each owns a share of a per-CPU LRU.
fn possible_cpus(settings: &CollectSettings) -> Option<u32> {
    parse_cpu_list(&fs::read_to_string(settings.host.sys("devices/system/cpu/possible")).ok()?)
}

/// The instant on the clock in force; `None` while it is undecided, or its frequency unknown.
fn reading(mode: Clock, clocks: Clocks, hz: Option<u32>) -> Option<Reading> {
    match mode {
        Clock::Undecided => None,
        Clock::Ktime => Some(Reading::ktime(low_half(clocks.ktime_ns / 1_000_000_000))),
        Clock::Jiffies => hz.map(|hz| Reading::jiffies(low_half(clocks.jiffies >> 8), hz)),
    }
}

fn low_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_and_logs_together_keep_to_their_share_of_a_core() {
        let check = |interval: u64, costs: &[u64], expected: u64| {
            let costs = costs.iter().copied().map(Duration::from_millis);
            let found = stretched(Duration::from_millis(interval), costs);
            assert_eq!(found, Duration::from_millis(expected));
        };
        check(15_000, &[], 15_000);
        check(15_000, &[20, 20, 35], 15_000);
        check(15_000, &[40, 40, 37], 23_400);
        // Logs alone never make it longer: half of what an interval allows is all they get.
        let most = Duration::from_secs(15) / SHARE_OF_A_CORE / SHARE_OF_LOGS;
        assert_eq!(most, Duration::from_micros(37_500));
        assert_eq!(stretched(Duration::from_secs(15), [most].into_iter()), Duration::from_secs(15));
    }
}
