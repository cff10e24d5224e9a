//! What a scan needs to be asked: the clock and its frequency.
//!
//! In: a collector with open maps. Out: its clock and HZ, found out from the entries themselves.
//! Must not: walk more than it needs: a few thousand entries tell the clock.

use std::time::Duration;

use monitor_abi::scan::Clock;

use super::Collector;
use crate::cilium::detect::{self, Votes};
use crate::cilium::timeouts::Timeouts;

/// Lifetimes looked at per map to find the clock.
const SAMPLED: u32 = 4096;
/// How often, and how far apart, a frequency is looked at that no kernel is built with.
const HZ_LOOKS: u32 = 10;
const HZ_PAUSE: Duration = Duration::from_millis(100);

impl Collector {
    /// Learns what a scan needs to be asked: the clock and its frequency.
    pub fn learn(&mut self) {
        if self.clock == Clock::Undecided {
            self.clock = self.detect();
            if self.clock != Clock::Undecided {
                tracing::info!(clock = ?self.clock, "found the clock of conntrack lifetimes");
            }
        }
        if self.hz.is_none() {
            self.hz = self.measure_hz();
        }
    }

    fn detect(&mut self) -> Clock {
        let mut votes = Votes::default();
        for known in self.known.iter().filter(|(name, _)| name.is_conntrack()).map(|(_, known)| known) {
            let mut left = SAMPLED;
            let sampled = self.kernel.stream(&known.link, |clocks, _, value| {
                if let Some(entry) = monitor_abi::cilium::CtEntry::from_bytes(value) {
                    votes.add(entry.lifetime, clocks);
                }
                left = left.saturating_sub(1);
                if left == 0 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
            });
            if let Err(error) = sampled {
                tracing::debug!(%error, "failed to sample lifetimes");
            }
        }
        votes.verdict()
    }

    /// Jiffies per second since the first reading; waits for a telling distance only if the clock needs it. On a busy machine
    /// jiffies may be late and catch up: what no kernel is built with is looked at for a second.
    fn measure_hz(&mut self) -> Option<u32> {
        let first = *self.first_clocks.get_or_insert(self.kernel.clocks().ok()?);
        let mut measured = detect::hz(first, self.kernel.clocks().ok()?);
        for _ in 0..HZ_LOOKS {
            if self.clock != Clock::Jiffies || measured.is_some_and(detect::is_known_hz) {
                break;
            }
            std::thread::sleep(HZ_PAUSE);
            measured = detect::hz(first, self.kernel.clocks().ok()?);
        }
        measured
    }

    /// Forgets the clock when most entries are implausible on it: Cilium was switched to the other one.
    pub(super) fn check_clock(&mut self) {
        if self.settings.clock.is_some() || self.clock == Clock::Undecided {
            return;
        }
        let (mut entries, mut implausible) = (0, 0);
        for last in self.known.values().filter_map(|known| known.last.as_ref()) {
            entries += last.scan.count(|cell| cell.due != monitor_abi::class::Due::Unknown);
            implausible += last.scan.implausible;
        }
        if entries >= 16 && implausible * 2 > entries {
            tracing::warn!(clock = ?self.clock, "most lifetimes are implausible on this clock: looking again");
            self.clock = Clock::Undecided;
            self.timeouts = Timeouts::default();
        }
    }
}
