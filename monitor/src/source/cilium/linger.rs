//! Which stale entries have been silent for too long.
//!
//! In: `stale_after` and the timeouts of Cilium's conntrack. Out: bounds in clock units, the same ones the kernel
//! side compares with, so that `list --lingering` shows what the metric counts.
//! Must not: guess a timeout: while it is unknown, so is the answer.

use std::time::Duration;

use monitor_abi::class::State;
use monitor_abi::scan::NEVER;

use super::clock::Reading;
use super::ct::CtRow;

/// How long a stale entry may be silent, and what Cilium keeps such entries for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LingerRule {
    pub stale_after: Duration,
    /// The timeout of entries with both closing bits (`bpf-ct-timeout-regular-tcp-fin`).
    pub fin_timeout: Duration,
    /// The timeout of half-closed entries, which is that of established ones; `None` while unknown.
    pub tcp_timeout: Option<Duration>,
}

/// The rule on one clock: an entry lingers when fewer units than this are left. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LingerBounds {
    pub closed: Option<i64>,
    pub half_closed: Option<i64>,
}

impl LingerRule {
    /// The rule in the units of `clock`; all unknown without one.
    #[must_use]
    pub fn bounds(&self, clock: Option<Reading>) -> LingerBounds {
        let units = |duration| i64::try_from(clock?.units(duration)?).ok();
        let Some(stale_after) = units(self.stale_after) else { return LingerBounds::default() };
        LingerBounds {
            // Overdue by at least the difference, hence one unit more than "fewer than" says.
            closed: units(self.fin_timeout).map(|timeout| timeout.saturating_sub(stale_after) + 1),
            half_closed: self.tcp_timeout.and_then(units).map(|timeout| timeout.saturating_sub(stale_after)),
        }
    }
}

impl LingerBounds {
    /// Whether the entry lingers: `Some(false)` for any that is not stale, `None` where it cannot be told.
    #[must_use]
    pub fn lingers(self, row: &CtRow, clock: Option<Reading>) -> Option<bool> {
        if !row.state.is_stale() {
            return Some(false);
        }
        let bound = if row.state == State::Closed { self.closed } else { self.half_closed };
        Some(clock?.units_left(row.lifetime)? < bound?)
    }

    /// The bounds as the kernel side takes them: closed, half-closed; unknown ones are never passed.
    #[must_use]
    pub fn for_kernel(self) -> (i32, i32) {
        let clamp = |bound: Option<i64>| {
            bound.map_or(NEVER, |bound| {
                i32::try_from(bound).unwrap_or(if bound < 0 { NEVER } else { i32::MAX })
            })
        };
        (clamp(self.closed), clamp(self.half_closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: LingerRule = LingerRule {
        stale_after: Duration::from_secs(600),
        fin_timeout: Duration::from_secs(10),
        tcp_timeout: Some(Duration::from_secs(8000)),
    };

    /// Whether an entry with these flags and this many units left lingers.
    fn lingers(rule: LingerRule, flags: u16, left: i64) -> Option<bool> {
        let clock = Some(Reading::ktime(100_000));
        let mut value = [0; 56];
        value[32..36].copy_from_slice(&u32::try_from(100_000 + left).unwrap().to_ne_bytes());
        value[36..38].copy_from_slice(&flags.to_ne_bytes());
        let row = CtRow::decode(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0], &value).unwrap();
        rule.bounds(clock).lingers(&row, clock)
    }

    #[test]
    fn closed_entries_linger_when_overdue_by_stale_after_minus_the_fin_timeout() {
        assert_eq!(lingers(RULE, 0x13, -589), Some(false));
        assert_eq!(lingers(RULE, 0x13, -590), Some(true));
    }

    #[test]
    fn half_closed_entries_linger_when_less_than_the_timeout_minus_stale_after_is_left() {
        for flags in [0x11, 0x12] {
            assert_eq!(lingers(RULE, flags, 7400), Some(false));
            assert_eq!(lingers(RULE, flags, 7399), Some(true));
        }
    }

    #[test]
    fn without_the_tcp_timeout_only_closed_entries_can_be_told() {
        let rule = LingerRule { tcp_timeout: None, ..RULE };
        assert_eq!(lingers(rule, 0x11, -90_000), None);
        assert_eq!(lingers(rule, 0x13, -90_000), Some(true));
        assert_eq!(rule.bounds(Some(Reading::ktime(0))).for_kernel(), (-589, NEVER));
    }

    #[test]
    fn entries_that_are_not_stale_never_linger() {
        assert_eq!(lingers(RULE, 0x10, -90_000), Some(false));
    }

    #[test]
    fn without_a_clock_nothing_can_be_told() {
        assert_eq!(RULE.bounds(None), LingerBounds::default());
        assert_eq!(RULE.bounds(None).for_kernel(), (NEVER, NEVER));
    }
}
