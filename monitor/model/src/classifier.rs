//! What the clock and the targets say of an entry.
//!
//! In: rows, the reading of their map's clock, the targets, how long is too long. Out: rows with what follows.
//! Must not: turn unknown into a value: `None` stays `None`.

use std::time::Duration;

use monitor_abi::class::{Direction, State};
use monitor_abi::silence;

use super::clock::ClockNow;
use super::ct::CtRow;
use super::nat::NatRow;
use super::target::TargetIndex;

/// What entries are judged by, whatever their map.
#[derive(Clone, Debug)]
pub struct Classifier {
    pub targets: TargetIndex,
    /// How long a stale entry may be silent before it lingers.
    pub stale_after: Duration,
}

/// What the entries of one map are judged by, in one scan.
#[derive(Clone, Debug)]
pub struct MapClassifier<'j> {
    targets: &'j TargetIndex,
    map: String,
    clock: Option<ClockNow>,
    /// [`Classifier::stale_after`] on the map's clock; `None` while that is unknown.
    stale_after: Option<u32>,
}

/// A conntrack entry and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct CtFacts<'a> {
    pub map: &'a str,
    pub row: CtRow,
    pub clock: Option<ClockNow>,
    /// Seconds left, negative when overdue.
    pub remaining: Option<i64>,
    pub expired: Option<bool>,
    /// Seconds since it last heard something; `None` also if it never did.
    pub silent: Option<u64>,
    pub lingering: Option<bool>,
    /// A connection that leads out and waits for its first answer.
    pub unanswered: Option<bool>,
    /// A target's name, or `none`.
    pub target: &'a str,
    /// The name of the target's service, or `other`.
    pub target_service: &'a str,
}

/// A NAT entry and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct NatFacts<'a> {
    pub map: &'a str,
    pub row: NatRow,
    pub clock: Option<ClockNow>,
    /// Seconds since it was created.
    pub age: Option<i64>,
    pub target: &'a str,
    pub target_service: &'a str,
}

impl Classifier {
    /// The classifier of one map's entries.
    #[must_use]
    pub fn of_map(&self, map: &str, clock: Option<ClockNow>) -> MapClassifier<'_> {
        let stale_after = stale_after_units(self.stale_after, clock);
        MapClassifier { targets: &self.targets, map: map.to_owned(), clock, stale_after }
    }
}

impl MapClassifier<'_> {
    /// The name of the map.
    #[must_use]
    pub fn map(&self) -> &str {
        &self.map
    }

    #[must_use]
    pub fn ct(&self, row: CtRow) -> CtFacts<'_> {
        let (target, target_service) = self.targets.names(self.targets.classify(&row));
        CtFacts {
            map: &self.map,
            row,
            clock: self.clock,
            remaining: row.remaining(self.clock),
            expired: row.expired(self.clock),
            silent: row.silent(self.clock),
            lingering: self.too_long(&row, row.state.is_stale()),
            unanswered: self.too_long(&row, row.state == State::Opening && row.direction == Direction::Out),
            target,
            target_service,
        }
    }

    /// Whether an entry of a kind that is judged has been silent for too long; `None` where it cannot be told.
    fn too_long(&self, row: &CtRow, judged: bool) -> Option<bool> {
        if !judged {
            return Some(false);
        }
        let (stale_after, silent) = (self.stale_after?, row.silent_units(self.clock)?);
        let (state, direction) = (row.state as u8, row.direction as u8);
        Some(silence::is_too_long(state, direction, row.expired(self.clock)?, silent, stale_after))
    }

    #[must_use]
    pub fn nat(&self, row: NatRow) -> NatFacts<'_> {
        let (target, target_service) = self.targets.names(self.targets.classify_nat(&row));
        NatFacts { map: &self.map, row, clock: self.clock, age: row.age(self.clock), target, target_service }
    }
}

/// How long a stale entry may be silent, in units of the clock: the first number of them that is at least so long, so that
/// whole seconds of silence say the same. `None` while the clock is unknown.
#[must_use]
pub fn stale_after_units(stale_after: Duration, clock: Option<ClockNow>) -> Option<u32> {
    Some(u32::try_from(clock?.units_of_at_least(stale_after)?).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::tuple::Endpoint;

    const NOW: u32 = 16_900_000;
    const STALE_AFTER: Duration = Duration::from_secs(600);

    /// What is said of an entry with these tuple flags and flags, reported at these instants, due a minute from now.
    fn said(
        clock: Option<ClockNow>,
        tuple: u8,
        flags: u16,
        tx: u32,
        rx: u32,
    ) -> (Option<u64>, [Option<bool>; 2]) {
        let end = Endpoint { address: std::net::Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        let row = CtRow {
            lifetime: NOW + 60,
            last_tx_report: tx,
            last_rx_report: rx,
            ..CtRow::between([end; 2], 6, tuple, flags)
        };
        let classifier =
            Classifier { targets: TargetIndex::new(Vec::new()).unwrap(), stale_after: STALE_AFTER };
        let map = classifier.of_map("ct4_global", clock);
        let facts = map.ct(row);
        (facts.silent, [facts.lingering, facts.unanswered])
    }

    #[test]
    fn closed_and_half_closed_entries_linger_alike_after_so_much_silence() {
        let clock = Some(ClockNow::ktime(NOW));
        for flags in [0x11, 0x12, 0x13] {
            for (tx, rx, silent, lingers) in [
                (NOW - 600, 0, 600, true),
                (NOW - 599, NOW - 9_000, 599, false),
                (NOW - 9_000, NOW - 600, 600, true),
                (NOW + 1, NOW - 9_000, 0, false),
            ] {
                let expected = (Some(silent), [Some(lingers), Some(false)]);
                assert_eq!(said(clock, 0, flags, tx, rx), expected, "{flags:#x} {silent}");
            }
        }
        assert_eq!(said(clock, 0, 0x10, NOW - 9_000, 0), (Some(9_000), [Some(false), Some(false)]));
    }

    #[test]
    fn an_opening_entry_that_leads_out_is_unanswered_after_two_units() {
        let clock = Some(ClockNow::ktime(NOW));
        for (silent, unanswered) in [(0, false), (1, false), (2, true), (59, true)] {
            let expected = (Some(silent.into()), [Some(false), Some(unanswered)]);
            assert_eq!(said(clock, 0, 0, NOW - silent, 0), expected, "{silent}");
        }
        // A client's SYN that the pod has not answered, and one on its way through a service.
        for tuple in [1, 4] {
            assert_eq!(said(clock, tuple, 0, NOW - 9, 0), (Some(9), [Some(false), Some(false)]));
        }
    }

    #[test]
    fn without_a_clock_or_a_report_only_what_need_not_be_judged_is_told() {
        let unknown = (None, [None, Some(false)]);
        assert_eq!(said(None, 0, 0x13, 1, 0), unknown);
        assert_eq!(
            said(Some(ClockNow { mode: Clock::Undecided, now: NOW, hz: 250 }), 0, 0x13, 1, 0),
            unknown
        );
        assert_eq!(said(Some(ClockNow::ktime(NOW)), 0, 0x13, 0, 0), unknown);
        assert_eq!(said(Some(ClockNow::ktime(NOW)), 0, 0x10, 0, 0), (None, [Some(false), Some(false)]));
        assert_eq!(said(Some(ClockNow::ktime(NOW)), 0, 0, 0, 0), (None, [Some(false), None]));
    }

    #[test]
    fn seconds_of_silence_and_the_verdict_say_the_same_on_every_clock() {
        for clock in [
            ClockNow::ktime(NOW),
            ClockNow::jiffies(NOW, 100),
            ClockNow::jiffies(NOW, 250),
            ClockNow::jiffies(NOW, 1_000),
        ] {
            let mut lingered = 0;
            for units in 0..3_000 {
                let (silent, [lingering, _]) = said(Some(clock), 0, 0x13, NOW - units, 0);
                assert_eq!(lingering, silent.map(|silent| silent >= 600), "{clock:?} {units}");
                lingered += u32::from(lingering == Some(true));
            }
            assert!(lingered > 0 && lingered < 3_000);
        }
    }
}
