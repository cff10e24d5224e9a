//! What a scan needs to be asked: the clock, its frequency, the timeouts.
//!
//! In: a collector with open maps. Out: its clock, HZ and timeouts, found out from the entries themselves.
//! Must not: walk more than it needs: a few thousand entries tell the clock, one walk the timeouts.

use std::time::Duration;

use monitor_abi::class::State;
use monitor_abi::scan::{Clock, found};

use super::{Collector, Learn};
use crate::snapshot::{TimeoutClass, TimeoutFact};
use crate::source::bpf::{Ask, RawScan, sys};
use crate::source::cilium::agent_config;
use crate::source::cilium::clock::Reading;
use crate::source::cilium::detect::{self, Votes};
use crate::source::cilium::pins::{MapName, Table};
use crate::source::cilium::timeouts::Timeouts;
use crate::source::host::HostError;

/// Lifetimes looked at per map to find the clock.
const SAMPLED: u32 = 4096;

impl Collector {
    /// Learns what a scan needs to be asked: the clock, its frequency, the TCP timeout.
    pub fn learn(&mut self, what: Learn) {
        if self.clock == Clock::Undecided {
            self.clock = self.detect();
            if self.clock != Clock::Undecided {
                tracing::info!(clock = ?self.clock, "found the clock of conntrack lifetimes");
            }
        }
        if self.hz.is_none() {
            self.hz = self.measure_hz();
        }
        if what == Learn::Clock {
            return;
        }
        let unknown = !self.timeout_facts().iter().any(|fact| fact.class == TimeoutClass::Tcp);
        if unknown && self.clock != Clock::Undecided {
            // Once: the threshold of half-closed entries needs the timeout before the walk that counts them.
            // What is odd is logged by the walk that counts it.
            let ask = Ask { log: false, learn: true, ..self.ask(sys::monotonic()) };
            let mut seen = Vec::new();
            for (name, known) in self.known.iter().filter(|(name, _)| name.table == Table::CtTcp) {
                if let Ok(raw) = self.kernel.scan(&known.link, &ask) {
                    seen.extend(most_left(name, &raw, self.reading(&raw)));
                }
            }
            self.timeouts.observe(seen);
        }
    }

    /// Takes timeouts over from who has followed these maps for longer.
    pub fn tell_timeouts(&mut self, told: Vec<TimeoutFact>) {
        self.told = told;
    }

    /// Takes them over from Cilium's own configuration, where the user pointed at it.
    pub fn follow_agent_config(&mut self) -> Result<(), HostError> {
        self.agent = agent_config::read_agent_config(&self.settings.host)?;
        Ok(())
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

    /// Jiffies per second since the first reading; waits for a telling distance only if the clock needs it.
    fn measure_hz(&mut self) -> Option<u32> {
        let first = *self.first_clocks.get_or_insert(self.kernel.clocks().ok()?);
        let measured = detect::hz(first, self.kernel.clocks().ok()?);
        if measured.is_some() || self.clock != Clock::Jiffies {
            return measured;
        }
        std::thread::sleep(Duration::from_millis(100));
        detect::hz(first, self.kernel.clocks().ok()?)
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

/// The most seconds left of each timeout class a walk saw.
pub(super) fn most_left(name: &MapName, raw: &RawScan, reading: Reading) -> Vec<(TimeoutClass, u64)> {
    let seconds = |word: usize| reading.seconds(raw.word(word)).unwrap_or(0);
    let most = |base: usize, states: &[State]| {
        states.iter().map(|state| seconds(base + *state as usize)).max().unwrap_or(0)
    };
    let lasting = [State::Established, State::RxClosing, State::TxClosing];
    let (regular, service) = (found::MOST_LEFT, found::MOST_LEFT_SERVICE);
    match name.table {
        Table::CtTcp => vec![
            (TimeoutClass::Tcp, most(regular, &lasting)),
            (TimeoutClass::Syn, most(regular, &[State::Opening])),
            (TimeoutClass::Fin, most(regular, &[State::Closed])),
            (TimeoutClass::ServiceTcp, most(service, &lasting)),
        ],
        Table::CtAny => vec![
            (TimeoutClass::Any, most(regular, &[State::Stateless])),
            (TimeoutClass::ServiceAny, most(service, &[State::Stateless])),
        ],
        Table::Nat => Vec::new(),
    }
}
