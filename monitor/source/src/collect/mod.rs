//! One collection: open the pins, walk the maps, put together what was found.
//!
//! In: the loaded programs, the bpffs root, settings. Out: a [`Snapshot`].
//! Must not: fail as a whole. What one map or one source cannot tell stands in its own place, with the reason.

mod clock;
mod evictions;
mod gc;
mod initiators;
mod maps;
mod pace;
mod targets;
mod timeouts;
mod walk;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use monitor_abi::class::DUE_BOUNDS;
use monitor_abi::scan::Clock;
use monitor_decode::scan::target_states;
use monitor_model::classifier::stale_after_units;
use monitor_model::drops::Drops;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::{self, MapName, MapProblem};
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{Content, Evictions, MapState, Snapshot, SourceState, TargetState, Totals};
use monitor_model::target::TargetIndex;
use monitor_model::walk::{WalkEvent, WalkVisitor};

use self::clock::NodeClock;
use self::evictions::{EvictionTotals, Names};
use self::gc::Gc;
use self::maps::{Listing, Maps};
pub use self::pace::SHARE_OF_A_CORE;
use self::pace::{sparse_interval, stretched, time_for_logs};
use self::targets::Targets;
use self::timeouts::TimeoutSources;
use super::bpf::{Ask, Kernel, ScanError, bounds_in_units, sys};
use super::cilium::drops;
use super::host::Host;
use super::host::collect::{HostCollector, Wanted};
use super::sources::read_source;

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

/// Collects again and again, and keeps what needs more than one collection.
pub struct Collector {
    kernel: Kernel,
    settings: CollectSettings,
    clock: NodeClock,
    maps: Maps,
    targets: Targets,
    timeouts: TimeoutSources,
    gc: Gc,
    evictions: EvictionTotals,
    host: HostCollector,
    totals: Totals,
    /// When the programs last logged what they found odd.
    odd_logged: Option<Duration>,
}

impl Collector {
    /// Starts with loaded programs.
    pub fn new(mut kernel: Kernel, settings: CollectSettings) -> Result<Self, ScanError> {
        kernel.set_targets(settings.targets.tables())?;
        let mut host = HostCollector::default();
        host.follow_logs(&settings.wanted.logs);
        Ok(Self {
            clock: NodeClock::new(settings.clock, kernel.clocks().ok()),
            targets: Targets::configured(settings.targets.clone()),
            kernel,
            settings,
            maps: Maps::default(),
            timeouts: TimeoutSources::default(),
            gc: Gc::default(),
            evictions: EvictionTotals::default(),
            host,
            totals: Totals::default(),
            odd_logged: None,
        })
    }

    /// Follows other settings from the next collection on.
    pub fn reconfigure(&mut self, settings: CollectSettings) -> Result<(), ScanError> {
        self.configure_targets(&settings)?;
        if settings.evictions != self.settings.evictions
            && let Err(error) = self.kernel.watch_evictions(settings.evictions)
        {
            tracing::error!(error = one_line(&error), "failed to change how evictions are followed");
        }
        if settings.clock != self.settings.clock {
            self.clock.configure(settings.clock);
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
        &self.targets.index
    }

    /// What is being followed.
    #[must_use]
    pub fn settings(&self) -> &CollectSettings {
        &self.settings
    }

    /// Opens every pin there is; returns those that cannot be read.
    pub fn open_all(&mut self) -> Vec<MapProblem> {
        let names = Listing::read(&self.settings.bpffs).names;
        names.iter().filter_map(|name| self.open(name).err()).collect()
    }

    fn open(&mut self, name: &MapName) -> Result<bool, MapProblem> {
        self.maps.open(name, &self.settings.bpffs, &mut self.kernel, &mut self.evictions)
    }

    /// The maps that are open.
    #[must_use]
    pub fn open_maps(&self) -> Vec<MapName> {
        self.maps.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The ids of the maps that are open.
    pub fn open_ids(&self) -> impl Iterator<Item = (&str, u32)> {
        self.maps.iter().map(|(name, map)| (name.name.as_str(), map.open.info.id))
    }

    /// Whether a map that is wanted is open.
    pub fn has_open(&self, wanted: impl Fn(&MapName) -> bool) -> bool {
        self.maps.iter().any(|(name, _)| wanted(name))
    }

    /// Finds out what the entries' lifetimes are read with: the clock and its frequency.
    pub fn find_clock(&mut self) {
        let conntrack = self.maps.iter().filter(|(name, _)| name.is_conntrack()).map(|(_, map)| &map.link);
        self.clock.find(&mut self.kernel, conntrack);
    }

    /// Asks the kernel how many entries the open maps hold: once a second, and before each walk. Costs a few dozen
    /// microseconds, and nothing where the kernel does not say.
    pub fn count(&mut self) {
        self.gc.count(&mut self.kernel, &self.maps);
    }

    /// Walks the open maps that are wanted, in display order, entry by entry, until the visitor breaks.
    pub fn stream(
        &mut self,
        wanted: impl Fn(&MapName) -> bool,
        visitor: &mut WalkVisitor<'_>,
    ) -> Result<(), ScanError> {
        for name in Listing::read(&self.settings.bpffs).names.into_iter().filter(wanted) {
            let Some(map) = self.maps.get(&name) else { continue };
            let clock = self.clock.at(self.kernel.clocks()?);
            let mut broke = visitor(WalkEvent::Map { name: &name.name, clock }).is_break();
            if !broke {
                self.kernel.stream(&map.link, |_, key, value| {
                    let flow = visitor(WalkEvent::Entry { key, value });
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
        let mut before = Vec::new();
        self.timeouts.read_agent_config(&self.settings.host, &mut before);
        let storage = self.follow_host();
        let Listing { names, skipped: maps_skipped, error } = Listing::read(&self.settings.bpffs);
        let mut maps = self.scan(names, monotonic);
        self.gc.observe(&mut maps, self.clock.scale(), monotonic);
        self.timeouts.observe(&self.maps, &mut maps, self.clock.scale());
        let evictions = self.read_evictions(wall, monotonic);
        if self.clock.give_up_if_implausible(self.maps.walks().map(|walk| &walk.scan)) {
            self.timeouts.drop_shown();
        }
        self.kernel.flush_log();
        self.totals.scans += 1;
        let mut sources = self.map_sources(&maps, sys::monotonic().saturating_sub(monotonic), error);
        sources.append(&mut before);
        let drops = self.read_drops(&mut sources);
        let CollectSettings { host, wanted, .. } = &self.settings;
        self.host.allow_logs(time_for_logs(self.settings.interval));
        let facts = self.targets.host_facts();
        let host = self.host.collect(host, wanted, storage, &self.targets.index, facts, &mut sources);
        let duration = sys::monotonic().saturating_sub(monotonic);
        Snapshot {
            wall,
            monotonic,
            duration,
            interval: self.interval(),
            totals: self.totals,
            clock: self.clock.facts(),
            timeouts: self.timeouts.facts(self.clock.scale()),
            maps_skipped,
            targets: self.target_states(),
            evictions,
            initiators: Vec::new(),
            map_count: self.kernel.counter().plan().clone(),
            agent: self.timeouts.agent().cloned(),
            drops,
            deep: None,
            host,
            sources,
            maps,
        }
    }

    /// Opens and walks the maps, once the clock is known if it can be.
    fn scan(&mut self, names: Vec<MapName>, now: Duration) -> Vec<MapState> {
        self.maps.close_unlisted(&names, &mut self.kernel, &mut self.evictions);
        let opened: Vec<_> = names.into_iter().map(|name| (self.open(&name), name)).collect();
        self.find_clock();
        let targets = self.kernel.target_words();
        if let Err(error) = self.kernel.tracker().judge_by(self.clock.mode(), targets) {
            tracing::warn!(error = one_line(&error), "failed to tell the eviction program its clock");
        }
        self.count();
        opened.into_iter().map(|(opened, name)| self.map_state(name, opened, now)).collect()
    }

    fn map_state(&mut self, name: MapName, opened: Result<bool, MapProblem>, now: Duration) -> MapState {
        let recreations = self.maps.recreations(&name);
        let content = match opened {
            Ok(true) => self.present(&name, now).unwrap_or_else(|problem| {
                self.totals.scan_errors += 1;
                Content::Problem(problem)
            }),
            Ok(false) => Content::Absent,
            Err(problem) => Content::Problem(problem),
        };
        MapState { map: name, content, recreations }
    }

    /// Walks the map if it is due, and shows it as it was walked last.
    fn present(&mut self, name: &MapName, now: Duration) -> Result<Content, MapProblem> {
        let ask = self.ask(now);
        let Some(map) = self.maps.get_mut(name) else { return Ok(Content::Absent) };
        let interval = self.settings.interval.max(sparse_interval(map.open.info.max_entries));
        if map.is_due(now, interval, self.settings.interval) {
            let found = map.walk(name, &mut self.kernel, &self.clock, &ask, (now, interval))?;
            if found.odd && ask.log {
                self.odd_logged = Some(now);
            }
            if let Err(error) = self.evictions.follow(self.kernel.tracker(), name, found.address) {
                tracing::warn!(map_name = %name, error = one_line(&error), "failed to start counting evictions");
            }
        }
        let present = map.present(&self.settings.host, self.gc.count_of(map.open.info.id));
        Ok(present.map_or(Content::Absent, Content::Present))
    }

    fn ask(&self, now: Duration) -> Ask {
        let log = self.odd_logged.is_none_or(|logged| now.saturating_sub(logged) >= LOG_INTERVAL);
        let scale = self.clock.scale();
        // In jiffies mode without a frequency nothing can be said in seconds.
        let Some(bounds) = bounds_in_units(DUE_BOUNDS, scale) else { return Ask { log, ..Ask::default() } };
        let stale_after = stale_after_units(self.settings.stale_after, Some(scale)).unwrap_or(u32::MAX);
        Ask { clock: self.clock.mode(), bounds, stale_after, log }
    }

    /// Takes over what was evicted since the last time.
    fn read_evictions(&mut self, wall: SystemTime, monotonic: Duration) -> Evictions {
        let names = Names { targets: &self.targets.index, clock: &self.clock, wall, monotonic };
        if let Err(error) = self.evictions.read(self.kernel.tracker(), &names) {
            tracing::warn!(error = one_line(&error), "failed to read what was evicted");
        }
        self.evictions.evictions(self.kernel.tracker(), &names)
    }

    /// Two sources: one that cannot be read takes nothing from the other.
    fn read_drops(&self, sources: &mut Vec<SourceState>) -> Option<Drops> {
        let bpffs = &self.settings.bpffs;
        let packets = read_source(sources, "drops", || drops::read_packets(bpffs));
        let retries = read_source(sources, "nat_retries", || drops::read_retries(bpffs)).unwrap_or_default();
        (packets.is_some() || !retries.is_empty()).then_some(Drops { packets, retries })
    }

    fn target_states(&self) -> Vec<TargetState> {
        let decided = self.maps.walks().all(|walk| walk.decided) && self.clock.is_decided();
        target_states(&self.targets.index, &self.maps.walks().map(|walk| &walk.targets), decided)
    }

    /// The configured interval, or longer where walking and reading logs would take more than their share of a core.
    fn interval(&self) -> Duration {
        let walks = self.maps.walks().map(|walk| walk.scan.cost);
        stretched(self.settings.interval, walks.chain([self.host.log_cost()]))
    }

    /// How the two kinds of maps fared.
    fn map_sources(&self, maps: &[MapState], took: Duration, listing: Option<String>) -> Vec<SourceState> {
        let (conntrack, nat): (Vec<_>, Vec<_>) = maps.iter().partition(|map| map.map.is_conntrack());
        let problem = |maps: &[&MapState]| {
            maps.iter().find_map(|map| match &map.content {
                Content::Problem(problem) => Some(problem.detail.clone()),
                Content::Absent | Content::Present(_) => None,
            })
        };
        let nothing = conntrack.iter().all(|map| matches!(map.content, Content::Absent));
        let none = || {
            let globals = self.settings.bpffs.join(map_name::GLOBALS);
            format!("no conntrack map is pinned below {}: is Cilium running on this node?", globals.display())
        };
        let of_conntrack = listing.clone().or(problem(&conntrack)).or_else(|| nothing.then(none));
        let of_nat = listing.or(problem(&nat));
        let source = |name, error| SourceState { name, duration: took, error };
        vec![source("conntrack", of_conntrack), source("nat", of_nat)]
    }
}
