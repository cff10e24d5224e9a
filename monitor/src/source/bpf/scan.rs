//! What one walk is asked for, and what it counted.
//!
//! In: settings in the clock's own units. Out: raw counters. Must not: interpret them.

use monitor_abi::scan::{Clock, NEVER, found};

/// What a scan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub clock: Clock,
    /// Bounds of the due classes in clock units.
    pub bounds: [i32; 11],
    /// A closed entry lingers below this many units left.
    pub linger_closed: i32,
    /// A half-closed entry lingers below this many units left; [`NEVER`] while the TCP timeout is unknown.
    pub linger_half_closed: i32,
    /// Log the first entry of each kind that Cilium does not define.
    pub log: bool,
    /// Record the most units left by class, for the timeouts.
    pub learn: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            clock: Clock::Undecided,
            bounds: [0; 11],
            linger_closed: NEVER,
            linger_half_closed: NEVER,
            log: false,
            learn: false,
        }
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
