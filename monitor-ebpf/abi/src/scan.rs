//! The two small records around a scan: what user space asks for, and what the walk found beside counters.
//!
//! In: nothing. Out: word indices into `[u64; N]` map values, and their packing.
//! Must not: be read by two scans at once: one scan at a time is the agent's rule.

/// Words of the `ASK` record.
pub mod ask {
    /// [`super::Clock`] of the map's lifetimes.
    pub const CLOCK: usize = 0;
    /// Clock units after which a stale entry lingers.
    pub const STALE_AFTER: usize = 1;
    /// 1: log the first entry of each kind that Cilium does not define.
    pub const LOG: usize = 2;
    /// Due bounds in clock units, signed, a word each.
    pub const BOUNDS: usize = 3;
    /// What is known of the targets without a look into their tables: [`super::targets`].
    pub const TARGETS: usize = BOUNDS + 11;
    pub const LEN: usize = TARGETS + super::targets::LEN;
}

/// Words about all targets at once, in the request of a walk and in that of the eviction programs.
pub mod targets {
    /// Bit 0: some v4 target exists; bit 1: some v6 target exists.
    pub const FAMILIES: usize = 0;
    /// The bits every v4 target prefix fixes to the same value, as they lie in a key, and that value: most entries
    /// differ there, and need no look into any table.
    pub const COMMON_V4: usize = 1;
    /// The same of v6: first and second half, then their values.
    pub const COMMON_V6: usize = 3;
    pub const LEN: usize = 7;
}

/// Words of the `FOUND` record.
pub mod found {
    /// `bpf_ktime_get_ns` at the first call of the scan.
    pub const KTIME_NS: usize = 0;
    /// `bpf_jiffies64` at the same instant.
    pub const JIFFIES: usize = 1;
    /// The scan's `now`, in the units asked for.
    pub const NOW: usize = 2;
    /// The kernel address of the map that was walked: the first argument of its LRU callbacks.
    pub const MAP_ADDRESS: usize = 3;
    /// Entries walked, as the kernel's own sequence number counts them; written at the end of the walk.
    pub const WALKED: usize = 4;
    /// 1 after the walk's closing call.
    pub const FINISHED: usize = 5;
    /// Fewest clock units left of any entry, signed, at most 0: how long the oldest is overdue.
    pub const LEAST_LEFT: usize = 6;
    /// Entries whose flag word or tuple flags have bits Cilium does not define.
    pub const ODD_FLAGS: usize = 7;
    /// Entries with `nexthdr` 0.
    pub const ODD_NEXTHDR: usize = 8;
    /// Entries with neither report: how long they have been silent is unknown.
    pub const NO_REPORT: usize = 9;
    /// Entries whose value found no place in the table of timeouts, by class (8 words).
    pub const LOST: usize = 10;
    pub const LEN: usize = LOST + crate::timeout::CLASSES;
}

/// Words of the `PENDING` record: what a walk copied and has not counted yet.
///
/// An element of a large map is a miss of every cache. While its value is on the way the processor runs ahead to the
/// next element, as far as a few hundred instructions and a well predicted branch take it; counting it on the spot
/// would stand in between. So a walk copies what it needs and counts [`pending::BATCH`] elements at a time.
pub mod pending {
    /// 0 before the first call of a walk, then 1.
    pub const BEGUN: usize = 0;
    pub const FIRST: usize = 1;
    /// Elements counted at a time.
    pub const BATCH: usize = 32;
    /// Both addresses, the words of the key behind them, the word of the value with lifetime and flags, the word with
    /// both reports.
    pub const WORDS_V4: usize = 4;
    /// The same with addresses of four words in all.
    pub const WORDS_V6: usize = 7;
    pub const LEN: usize = FIRST + BATCH * WORDS_V6;
}

/// The clock of a map's lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Clock {
    /// Not known yet: nothing is called expired.
    Undecided = 0,
    /// Seconds of `CLOCK_MONOTONIC`.
    Ktime = 1,
    /// `jiffies >> 8`.
    Jiffies = 2,
}

/// Entries between two bytes of output: what one `read` walks at the most.
pub const READ_STRIDE: u64 = 8192;

/// What a LPM entry of the target tables holds: target index, and the pair of its `other` service.
#[inline(always)]
#[must_use]
pub const fn pack_target(target: u32, other_pair: u32) -> u32 {
    (target & 0xff) << 8 | (other_pair & 0xff)
}

/// Key of the port table: target index, protocol and port (host order).
#[inline(always)]
#[must_use]
pub const fn port_key(target: u32, nexthdr: u8, port: u16) -> u32 {
    (target & 0xff) << 24 | (nexthdr as u32) << 16 | port as u32
}

/// Maps whose entries the kernel counts, at the most: six of a node and 32 per-cluster ones, with room for those that
/// were re-created and are not taken off yet.
pub const FOLLOWED_MAPS: u32 = 64;

/// Words in one of the two address filters: 65,536 bits.
pub const FILTER_WORDS: usize = 1024;
/// Elements of the filter map: v4 high, v4 low, v6 high, v6 low.
pub const FILTERS: u32 = 4;
/// Prefixes in each target table at the most.
pub const MAX_PREFIXES: u32 = 1024;
/// Ports over all targets at the most.
pub const MAX_PORTS: u32 = 4096;
