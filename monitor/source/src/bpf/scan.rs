//! What one walk is asked for, and what it counted.
//!
//! In: settings in the clock's own units. Out: raw counters. Must not: interpret them.

use monitor_abi::scan::{Clock, found};

/// What a scan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub clock: Clock,
    /// Bounds of the due classes in clock units.
    pub bounds: [i32; 11],
    /// Clock units after which a stale entry lingers.
    pub stale_after: u32,
    /// Log the first entry of each kind that Cilium does not define.
    pub log: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self { clock: Clock::Undecided, bounds: [0; 11], stale_after: u32::MAX, log: false }
    }
}

/// Both kernel clocks at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    pub ktime_ns: u64,
    pub jiffies: u64,
}

/// What one walk counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawScan {
    /// `scan::found` words.
    pub found: [u64; found::LEN],
    /// `cell::map_cell` counters.
    pub cells: Vec<u64>,
    /// `cell::target_cell` counters; empty where targets were not asked for.
    pub target_cells: Vec<u64>,
    /// Entries by the timeout they show, see `monitor_abi::timeout`; nothing for NAT maps.
    pub timeouts: Vec<u64>,
    /// `read` calls the walk took.
    pub reads: u64,
}

impl RawScan {
    /// A word of the record.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.found.get(index).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn clocks(&self) -> Clocks {
        Clocks { ktime_ns: self.word(found::KTIME_NS), jiffies: self.word(found::JIFFIES) }
    }
}
