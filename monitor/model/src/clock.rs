//! The clock of Cilium's lifetimes: units into seconds and back.
//!
//! In: the clock as it was read once for a scan. Out: seconds left, expiry, durations in the clock's units.
//! Must not: read a clock: all entries of a scan are compared with one instant.
//!
//! Cilium counts either seconds of `CLOCK_MONOTONIC` or `jiffies >> 8`
//! (<https://github.com/cilium/cilium/blob/v1.18.0/bpf/lib/mono.h>).

use std::time::Duration;

pub use monitor_abi::scan::Clock;

/// Cilium divides jiffies by 2^8 so that they fit 32 bits.
const JIFFIES_SHIFT: u32 = 8;

/// Both kernel clocks at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    pub ktime_ns: u64,
    pub jiffies: u64,
}

/// One instant on the clock of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockNow {
    pub mode: Clock,
    /// The instant, in units of `mode`.
    pub now: u32,
    /// Jiffies per second; only the jiffies clock needs it.
    pub hz: u32,
}

impl ClockNow {
    /// An instant in seconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn ktime(now: u32) -> Self {
        Self { mode: Clock::Ktime, now, hz: 0 }
    }

    /// An instant in `jiffies >> 8`.
    #[must_use]
    pub const fn jiffies(now: u32, hz: u32) -> Self {
        Self { mode: Clock::Jiffies, now, hz }
    }

    /// Units as seconds, rounded down; `None` while the clock is undecided.
    #[must_use]
    pub const fn seconds(self, units: u64) -> Option<u64> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime => Some(units),
            Clock::Jiffies => units.saturating_mul(1 << JIFFIES_SHIFT).checked_div(self.hz as u64),
        }
    }

    /// A duration in units, rounded down as the datapath does; `None` while the clock is undecided.
    #[must_use]
    pub fn units(self, duration: Duration) -> Option<u64> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime => Some(duration.as_secs()),
            Clock::Jiffies if self.hz == 0 => None,
            Clock::Jiffies => {
                let jiffies = duration.as_millis().saturating_mul(self.hz.into()) / 1000;
                Some(u64::try_from(jiffies).unwrap_or(u64::MAX) >> JIFFIES_SHIFT)
            }
        }
    }

    /// A duration in units, rounded up: the first number of units that is at least so long. `None` while the clock is
    /// undecided.
    #[must_use]
    pub fn units_of_at_least(self, duration: Duration) -> Option<u64> {
        let (unit, per_second) = match self.mode {
            Clock::Undecided => return None,
            Clock::Ktime => (1, 1),
            Clock::Jiffies if self.hz == 0 => return None,
            Clock::Jiffies => (1 << JIFFIES_SHIFT, u128::from(self.hz)),
        };
        let scaled = duration.as_nanos().saturating_mul(per_second).div_ceil(unit * 1_000_000_000);
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// How long so many units are; `None` while the clock is undecided.
    #[must_use]
    pub fn duration(self, units: u64) -> Option<Duration> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime => Some(Duration::from_secs(units)),
            Clock::Jiffies => {
                let micros = u128::from(units) * (1_000_000 << JIFFIES_SHIFT);
                let micros = micros.checked_div(self.hz.into())?;
                Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Seconds of one unit, rounded up: what ages are known to. `None` while the clock is undecided.
    #[must_use]
    pub const fn unit(self) -> Option<u64> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime => Some(1),
            Clock::Jiffies if self.hz == 0 => None,
            Clock::Jiffies => Some((1_u64 << JIFFIES_SHIFT).div_ceil(self.hz as u64)),
        }
    }

    /// Seconds until `lifetime`, negative when it has passed.
    ///
    /// Both instants become seconds before they are subtracted, as Cilium's CLI does: subtracting first would
    /// differ by one second now and then.
    #[must_use]
    pub fn seconds_left(self, lifetime: u32) -> Option<i64> {
        let due = self.seconds(lifetime.into())?;
        let now = self.seconds(self.now.into())?;
        Some(i64::try_from(due).ok()? - i64::try_from(now).ok()?)
    }

    /// Clock units until `lifetime`, negative when it has passed.
    #[must_use]
    pub const fn units_left(self, lifetime: u32) -> Option<i64> {
        match self.mode {
            Clock::Undecided => None,
            Clock::Ktime | Clock::Jiffies => Some(lifetime as i64 - self.now as i64),
        }
    }

    /// Whether Cilium's gc would remove the entry: its lifetime lies strictly before now, in the clock's own units.
    #[must_use]
    pub const fn expired(self, lifetime: u32) -> Option<bool> {
        match self.units_left(lifetime) {
            Some(left) => Some(left < 0),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_counts_seconds() {
        let clock = ClockNow::ktime(1860);
        assert_eq!(clock.seconds_left(23_454), Some(21_594));
        assert_eq!(clock.seconds_left(1800), Some(-60));
        assert_eq!(clock.units(Duration::from_secs(600)), Some(600));
        assert_eq!(clock.units_of_at_least(Duration::from_millis(1_500)), Some(2));
        assert_eq!(clock.duration(10), Some(Duration::from_secs(10)));
    }

    #[test]
    fn an_entry_due_this_very_unit_is_not_expired() {
        let clock = ClockNow::ktime(1860);
        assert_eq!([1859, 1860, 1861].map(|due| clock.expired(due)), [Some(true), Some(false), Some(false)]);
    }

    #[test]
    fn jiffies_become_seconds_before_the_subtraction() {
        // A closed entry of a HZ 100 machine: 10 s are 3 units of 2.56 s.
        let clock = ClockNow::jiffies(26_562_514, 100);
        assert_eq!(clock.units(Duration::from_secs(10)), Some(3));
        // 26,562,518 units are 68,000,046.08 s and 26,562,514 are 68,000,035.84 s.
        assert_eq!(clock.seconds_left(26_562_518), Some(11));
        assert_eq!(clock.units_left(26_562_518), Some(4));
    }

    #[test]
    fn durations_in_units_of_jiffies_are_rounded_where_it_is_said() {
        let check = |hz, seconds, down, up| {
            let (clock, duration) = (ClockNow::jiffies(0, hz), Duration::from_secs(seconds));
            assert_eq!((clock.units(duration), clock.units_of_at_least(duration)), (Some(down), Some(up)));
            let seconds_of = |units| clock.seconds(units).unwrap();
            assert!(seconds_of(up) >= seconds && seconds_of(up - 1) < seconds, "{hz} {seconds}");
        };
        check(100, 10, 3, 4);
        check(250, 10, 9, 10);
        check(1000, 10, 39, 40);
        check(250, 600, 585, 586);
        check(1000, 256, 1000, 1000);
        assert_eq!(ClockNow::jiffies(0, 100).duration(3), Some(Duration::from_millis(7_680)));
        assert_eq!(ClockNow::jiffies(0, 250).duration(9), Some(Duration::from_millis(9_216)));
    }

    #[test]
    fn an_undecided_clock_says_nothing() {
        let clock = ClockNow { mode: Clock::Undecided, now: 5, hz: 250 };
        assert_eq!(clock.seconds_left(1), None);
        assert_eq!(clock.expired(1), None);
        assert_eq!(clock.units(Duration::from_secs(1)), None);
        assert_eq!((clock.units_of_at_least(Duration::from_secs(1)), clock.duration(1)), (None, None));
        let no_hz = ClockNow::jiffies(5, 0);
        assert_eq!((no_hz.seconds_left(1), no_hz.duration(1)), (None, None), "HZ 0 is no HZ");
    }
}
