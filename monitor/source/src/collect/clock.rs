//! The clock of the node's lifetimes: which one it is, and how fast it runs.
//!
//! In: the configuration, entries of open maps, both kernel clocks. Out: [`NodeClock`], found out from the entries
//! themselves unless it is configured. Must not: walk more than it needs: a few thousand entries tell the clock.

use std::ops::ControlFlow;
use std::time::Duration;

use monitor_abi::class::Due;
use monitor_model::clock::{Clock, ClockNow, Clocks};
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{ClockFacts, MapScan};

use crate::bpf::{Kernel, Link};
use crate::cilium::detect::{self, Votes};

/// Lifetimes looked at per map to find the clock.
const SAMPLED: u32 = 4096;
/// How often, and how far apart, a frequency is looked at that no kernel is built with.
const HZ_LOOKS: u32 = 10;
const HZ_PAUSE: Duration = Duration::from_millis(100);

/// Which clock is in force.
pub(super) struct NodeClock {
    mode: Clock,
    /// By the configuration.
    forced: bool,
    hz: Option<u32>,
    /// Both clocks at the first look: a frequency is measured since then.
    first: Option<Clocks>,
}

impl NodeClock {
    /// As configured, or to be found out.
    pub(super) fn new(configured: Option<Clock>, first: Option<Clocks>) -> Self {
        let mode = configured.unwrap_or(Clock::Undecided);
        Self { mode, forced: configured.is_some(), hz: None, first }
    }

    /// Follows another configuration; what was measured stays.
    pub(super) fn configure(&mut self, configured: Option<Clock>) {
        *self = Self { hz: self.hz, ..Self::new(configured, self.first) };
    }

    pub(super) const fn mode(&self) -> Clock {
        self.mode
    }

    pub(super) fn is_decided(&self) -> bool {
        self.mode != Clock::Undecided
    }

    /// An instant in its units.
    pub(super) fn reading(&self, now: u32) -> ClockNow {
        ClockNow { mode: self.mode, now, hz: self.hz.unwrap_or(0) }
    }

    /// For durations, whenever they are.
    pub(super) fn scale(&self) -> ClockNow {
        self.reading(0)
    }

    /// The instant on the clock in force; `None` while it is undecided, or its frequency unknown.
    pub(super) fn at(&self, clocks: Clocks) -> Option<ClockNow> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime => Some(ClockNow::ktime(low_half(clocks.ktime_ns / 1_000_000_000))),
            Clock::Jiffies => self.hz.map(|hz| ClockNow::jiffies(low_half(clocks.jiffies >> 8), hz)),
        }
    }

    pub(super) const fn facts(&self) -> ClockFacts {
        ClockFacts { mode: self.mode, forced: self.forced, hz: self.hz }
    }

    /// Finds out what is not known yet: the clock and its frequency.
    pub(super) fn find<'l>(&mut self, kernel: &mut Kernel, conntrack: impl Iterator<Item = &'l Link>) {
        if !self.is_decided() {
            self.mode = detect(kernel, conntrack);
            if self.is_decided() {
                tracing::info!(clock = ?self.mode, "found the clock of conntrack lifetimes");
            }
        }
        if self.hz.is_none() {
            self.hz = self.measure_hz(kernel);
        }
    }

    /// Jiffies per second since the first reading; waits for a telling distance only if the clock needs it. On a busy machine
    /// jiffies may be late and catch up: what no kernel is built with is looked at for a second.
    fn measure_hz(&mut self, kernel: &mut Kernel) -> Option<u32> {
        let first = *self.first.get_or_insert(kernel.clocks().ok()?);
        let mut measured = detect::hz(first, kernel.clocks().ok()?);
        for _ in 0..HZ_LOOKS {
            if self.mode != Clock::Jiffies || measured.is_some_and(detect::is_known_hz) {
                break;
            }
            std::thread::sleep(HZ_PAUSE);
            measured = detect::hz(first, kernel.clocks().ok()?);
        }
        measured
    }

    /// Gives the clock up when most entries are implausible on it: Cilium was switched to the other one. Whether it did.
    pub(super) fn give_up_if_implausible<'s>(&mut self, walks: impl Iterator<Item = &'s MapScan>) -> bool {
        if self.forced || !self.is_decided() {
            return false;
        }
        let (mut entries, mut implausible) = (0, 0);
        for scan in walks {
            entries += scan.count(|cell| cell.due != Due::Unknown);
            implausible += scan.implausible;
        }
        if entries < 16 || implausible * 2 <= entries {
            return false;
        }
        tracing::warn!(clock = ?self.mode, "most lifetimes are implausible on this clock: looking again");
        self.mode = Clock::Undecided;
        true
    }
}

/// What the entries of the conntrack maps say.
fn detect<'l>(kernel: &mut Kernel, conntrack: impl Iterator<Item = &'l Link>) -> Clock {
    let mut votes = Votes::default();
    for link in conntrack {
        let mut left = SAMPLED;
        let sampled = kernel.stream(link, |clocks, _, value| {
            if let Some(entry) = monitor_abi::cilium::CtEntry::from_bytes(value) {
                votes.add(entry.lifetime, clocks);
            }
            left = left.saturating_sub(1);
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = sampled {
            tracing::debug!(error = one_line(&error), "failed to sample lifetimes");
        }
    }
    votes.verdict()
}

/// The low half of a word, as the kernel's own 32-bit clocks.
pub(super) fn low_half(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_known_once_the_clock_and_its_frequency_are() {
        let clocks = Clocks { ktime_ns: 7_000_000_000, jiffies: 512 };
        let at = |mode, hz| NodeClock { mode, forced: false, hz, first: None }.at(clocks);
        assert_eq!(at(Clock::Undecided, Some(250)), None);
        assert_eq!(at(Clock::Ktime, None), Some(ClockNow::ktime(7)));
        assert_eq!(at(Clock::Jiffies, None), None);
        assert_eq!(at(Clock::Jiffies, Some(250)), Some(ClockNow::jiffies(2, 250)));
    }

    #[test]
    fn another_configuration_keeps_what_was_measured() {
        let mut clock = NodeClock { hz: Some(250), ..NodeClock::new(None, None) };
        clock.configure(Some(Clock::Jiffies));
        assert_eq!(clock.facts(), ClockFacts { mode: Clock::Jiffies, forced: true, hz: Some(250) });
        clock.configure(None);
        assert_eq!(clock.facts(), ClockFacts { mode: Clock::Undecided, forced: false, hz: Some(250) });
    }
}
