//! What we know at one instant: plain data.
//!
//! In: what the sources read. Out: one value that checks and outputs are functions of.
//! Must not: read anything, or hold a type of an output format. `None` is unknown, never 0.

pub mod deep;
mod host;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use monitor_abi::class::{Direction, Due, Expiry, Protocol, State, VictimState};
use monitor_abi::scan::Clock;

use self::deep::DeepFacts;
use crate::agent_config::AgentConfig;
use crate::clock::ClockNow;
use crate::count_plan;
use crate::drops::Drops;
use crate::eviction_plan::Plan;
use crate::map_name::{MapName, MapProblem};
pub use crate::snapshot::host::{
    CifsState, CifsTarget, HostState, HostTargetFacts, MountState, SocketState, SysctlState, TargetSocket,
    Towards,
};
use crate::target::OTHER_SERVICE;
use crate::timeouts::{self, TimeoutClass};
use crate::tuple::Endpoint;

/// Everything one collection found: a scan of the maps and a look at the host.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the collection began, in wall-clock time.
    pub wall: SystemTime,
    /// The same instant on `CLOCK_MONOTONIC`, which ages are taken on.
    pub monotonic: Duration,
    /// How long the collection took.
    pub duration: Duration,
    /// The time between two collections, stretched where scans take long.
    pub interval: Duration,
    pub totals: Totals,
    pub clock: ClockFacts,
    pub timeouts: Vec<TimeoutFact>,
    /// The maps in display order, absent ones included.
    pub maps: Vec<MapState>,
    /// Per-cluster maps beyond the limit.
    pub maps_skipped: usize,
    /// Entries by target and service, in configuration order; the last service of each target is `other`.
    pub targets: Vec<TargetState>,
    /// Where unanswered connections come from; empty unless a command asked for it.
    pub initiators: Vec<Initiators>,
    pub evictions: Evictions,
    /// Whether the kernel counts the entries of a map, and why not.
    pub map_count: count_plan::Plan,
    /// Cilium's configuration; `None` unless a copy of its configuration was named and could be read.
    pub agent: Option<AgentConfig>,
    /// What the datapath dropped; `None` where its counters are not there or cannot be read.
    pub drops: Option<Drops>,
    /// What the last deep scan found; `None` before the first one.
    pub deep: Option<DeepFacts>,
    /// The node beside the maps.
    pub host: HostState,
    pub sources: Vec<SourceState>,
}

/// Counted since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub scans: u64,
    pub scan_errors: u64,
}

/// The clock of Cilium's lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFacts {
    pub mode: Clock,
    /// Whether the configuration forced it.
    pub forced: bool,
    /// Jiffies per second, as measured.
    pub hz: Option<u32>,
}

/// A conntrack timeout in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutFact {
    pub class: TimeoutClass,
    pub source: TimeoutSource,
    pub value: Duration,
}

/// How a timeout is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeoutSource {
    /// What entries show: their lifetime less the last report. Up to a report interval too much.
    Entries,
    /// Cilium's own configuration.
    CiliumConfig,
}

/// One map of the node.
#[derive(Clone, Debug)]
pub struct MapState {
    pub map: MapName,
    pub content: Content,
    /// Times the pin was found to hold another map than at the scan before.
    pub recreations: u64,
}

/// What a pin holds.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few dozen at the most, nearly all of them present"
)]
pub enum Content {
    /// No pin: normal where the feature is off.
    Absent,
    /// A pin that cannot be read, and why.
    Problem(MapProblem),
    Present(PresentMap),
}

/// `BPF_F_NO_COMMON_LRU`: every CPU owns its share of the map.
pub const NO_COMMON_LRU: u32 = 1 << 1;

/// A map that was walked.
#[derive(Clone, Debug)]
pub struct PresentMap {
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    /// `max_entries`.
    pub capacity: u32,
    pub flags: u32,
    /// How many entries one CPU may hold; `None` but for a per-CPU LRU on a known number of CPUs.
    pub percpu_share: Option<u32>,
    /// What the kernel accounts to the map.
    pub memory_bytes: Option<u64>,
    pub scan: MapScan,
    /// The kernel's own count of its entries; `None` where it does not count, see [`Snapshot::map_count`].
    pub kernel: Option<KernelCount>,
    /// What was seen of Cilium's gc; `None` for NAT maps and while the clock is unknown.
    pub gc: Option<GcFacts>,
}

/// The kernel's own count of a map's entries, read each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// Right before the walk.
    pub entries: u64,
    /// The highest since the last snapshot.
    pub peak: u64,
}

/// Passes of Cilium's gc over one map, as far as they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GcFacts {
    /// Passes that were recognized; several within a second, or within a walk where the kernel does not count, are one.
    pub passes: u64,
    /// `None` before the first pass.
    pub last_pass_age: Option<Duration>,
    /// Entries the last pass removed.
    pub last_removed: Option<u64>,
    /// Time between the last two passes with none between them for certain, or since the last one where it is longer
    /// already for certain; `None` before the second.
    pub interval: Option<Duration>,
    /// The same of the passes before: how the interval changes.
    pub interval_before: Option<Duration>,
    /// Entries of the map that die a second; `None` until deaths were counted for a while.
    pub dying: Option<f64>,
}

/// What a walk counted.
#[derive(Clone, Debug)]
pub struct MapScan {
    /// When the walk began, on `CLOCK_MONOTONIC`: large sparse maps are walked less often than the rest.
    pub monotonic: Duration,
    /// Processor time it took.
    pub cost: Duration,
    /// The time between two walks of this map.
    pub interval: Duration,
    pub entries: u64,
    /// The strict partition: every entry is in exactly one cell. Empty cells are left out.
    pub cells: Vec<Cell>,
    /// Seconds the oldest expired entry is overdue, 0 if none is; `None` for NAT maps and while the clock is unknown.
    pub oldest_expired: Option<u64>,
    /// Entries whose lifetime is so far from now that the wrong clock may be in use.
    pub implausible: u64,
    /// Entries with flag bits Cilium does not define.
    pub odd_flags: u64,
    /// Entries with `nexthdr` 0.
    pub odd_nexthdr: u64,
    /// Entries with neither report: how long they have been silent is unknown.
    pub no_report: u64,
    /// Entries with both closing bits that are kept as long as open ones; `None` for NAT maps, and while it is unknown how
    /// long closed ones are kept.
    pub odd_lifetimes: Option<u64>,
}

/// A class of entries and how many it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub direction: Direction,
    pub state: State,
    pub due: Due,
    pub protocol: Protocol,
    pub entries: u64,
}

/// What belongs to one service of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetState {
    pub target: String,
    pub service: String,
    pub cells: Vec<TargetCell>,
    /// What has been silent for too long; `None` while the clock is unknown.
    pub silent: Option<SilentEntries>,
}

/// Clients that wait for the first answer of a service of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiators {
    pub target: String,
    pub service: String,
    /// The most frequent first.
    pub from: Vec<IpAddr>,
}

/// Entries of a target that have been silent for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SilentEntries {
    /// Entries with both closing bits, silent for `stale_after`.
    pub lingering_closed: u64,
    /// Entries with one closing bit likewise.
    pub lingering_half_closed: u64,
    /// Opening ones that lead out, have not expired, and have been silent for two units of the clock.
    pub unanswered: u64,
    /// How long the unanswered one that has waited longest has been silent. A SYN that is sent again ends a silence, unless
    /// it comes within the report interval.
    pub longest_unanswered: Option<Duration>,
}

impl SilentEntries {
    /// Both kinds of those that linger.
    #[must_use]
    pub const fn lingering(&self) -> u64 {
        self.lingering_closed + self.lingering_half_closed
    }
}

/// A class of a target's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetCell {
    pub state: State,
    /// `None` while the clock is unknown.
    pub expired: Option<bool>,
    pub entries: u64,
}

/// Entries the kernel evicted since the process began.
#[derive(Clone, Debug, Default)]
pub struct Evictions {
    /// How they are watched, and why not in more detail.
    pub tracking: Plan,
    /// Times the kernel skipped the program that counts; `None` while there is none.
    pub recursion_misses: Option<u64>,
    /// Maps that are watched or were; empty while tracking is off.
    pub maps: Vec<MapEvictions>,
    /// Target and service, in configuration order; empty unless victims are read.
    pub targets: Vec<TargetEvictions>,
    /// The last victims that could be read, oldest first.
    pub victims: Vec<Victim>,
    /// Victims that were counted and overwritten before they were read.
    pub victims_lost: u64,
}

/// Evicted entries of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEvictions {
    pub map_name: String,
    pub cells: Vec<EvictionCell>,
}

/// The victims of one service of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEvictions {
    pub target: String,
    pub service: String,
    pub cells: Vec<EvictionCell>,
}

/// A class of victims and how many there were. Every class that can be is there, also at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionCell {
    pub state: VictimState,
    pub expiry: Expiry,
    pub evicted: u64,
}

/// One evicted entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// From 1, in the order they were evicted.
    pub number: u64,
    /// When, in wall-clock time.
    pub when: SystemTime,
    pub map_name: String,
    pub protocol: Protocol,
    pub direction: Direction,
    /// Who opened the connection; of NAT entries the source of the packet.
    pub initiator: Endpoint,
    /// Who answered it; of NAT entries the destination of the packet.
    pub responder: Endpoint,
    pub state: VictimState,
    pub expiry: Expiry,
    /// Seconds it had left, negative when overdue; `None` where it has no lifetime or the clock is unknown.
    pub remaining: Option<i64>,
    pub target: String,
    pub target_service: String,
}

/// A source and whether it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    pub name: &'static str,
    pub duration: Duration,
    /// Why it is down.
    pub error: Option<String>,
}

impl Snapshot {
    /// The maps that were walked.
    pub fn present(&self) -> impl Iterator<Item = (&MapState, &PresentMap)> {
        self.maps.iter().filter_map(|map| match &map.content {
            Content::Present(present) => Some((map, present)),
            Content::Absent | Content::Problem(_) => None,
        })
    }

    /// The names of the targets, in display order.
    pub fn target_names(&self) -> impl Iterator<Item = &str> {
        // The last pair of every target is its `other`.
        self.targets.iter().filter(|state| state.service == OTHER_SERVICE).map(|state| state.target.as_str())
    }

    /// By how much the timeouts that entries show may differ from those in force.
    #[must_use]
    pub fn timeout_tolerance(&self) -> Duration {
        let ClockFacts { mode, forced: _, hz } = self.clock;
        let clock = ClockNow { mode, now: 0, hz: hz.unwrap_or(0) };
        timeouts::tolerance(report_interval(self.agent.as_ref()), Some(clock))
    }

    /// The timeout of a class: what Cilium's configuration says, else what entries show.
    #[must_use]
    pub fn timeout(&self, class: TimeoutClass) -> Option<Duration> {
        let of = |source| {
            self.timeouts
                .iter()
                .find(|fact| fact.class == class && fact.source == source)
                .map(|fact| fact.value)
        };
        of(TimeoutSource::CiliumConfig).or_else(|| of(TimeoutSource::Entries))
    }
}

impl PresentMap {
    /// Entries over capacity.
    #[must_use]
    pub fn fill(&self) -> f64 {
        ratio(self.scan.entries, u64::from(self.capacity))
    }

    /// Whether every CPU owns its share of the map (Cilium's `bpf.distributedLRU.enabled`), however large that is.
    #[must_use]
    pub const fn is_per_cpu(&self) -> bool {
        self.flags & NO_COMMON_LRU != 0
    }
}

impl MapScan {
    /// Entries in the cells that pass.
    pub fn count(&self, pass: impl Fn(&Cell) -> bool) -> u64 {
        self.cells.iter().filter(|cell| pass(cell)).map(|cell| cell.entries).sum()
    }
}

impl TargetState {
    /// Entries in the cells that pass.
    pub fn count(&self, pass: impl Fn(&TargetCell) -> bool) -> u64 {
        self.cells.iter().filter(|cell| pass(cell)).map(|cell| cell.entries).sum()
    }

    /// Entries with a closing bit: what `grep -E 'RxClosing|TxClosing'` counts.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.count(|cell| cell.state.is_stale())
    }
}

/// The time between two reports of an entry: what it shows of itself is too much by that at the most.
#[must_use]
pub fn report_interval(agent: Option<&AgentConfig>) -> Duration {
    /// Cilium's default.
    const USUAL: Duration = Duration::from_secs(5);
    agent.and_then(|agent| agent.monitor_aggregation_interval).unwrap_or(USUAL)
}

impl TimeoutSource {
    /// Every source, in display order.
    pub const ALL: &[Self] = &[Self::Entries, Self::CiliumConfig];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::CiliumConfig => "cilium_config",
        }
    }
}

/// A ratio of two counts; exact far beyond any map's size.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
