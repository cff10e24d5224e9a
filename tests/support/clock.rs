//! The two clocks Cilium may stamp its entries with, read on the test's side.
//!
//! In: `CLOCK_MONOTONIC` and what /proc says of jiffies. Out: `now` and durations in a clock's units.
//! Must not: guess HZ: it is measured.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::reference;
use crate::sys;

/// Rates kernels are built with.
const KNOWN_HZ: [u32; 5] = [100, 250, 300, 1000, 1024];
/// How long HZ is measured.
const SAMPLE: Duration = Duration::from_millis(200);

/// The unit of lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Seconds of `CLOCK_MONOTONIC`.
    Seconds,
    /// `jiffies >> 8`.
    Jiffies { hz: u32 },
}

impl Units {
    /// What the datapath adds for a timeout of so many seconds.
    #[must_use]
    pub const fn of(self, seconds: u32) -> u32 {
        match self {
            Self::Seconds => seconds,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "timeouts are hours, so the product stays small"
            )]
            Self::Jiffies { hz } => ((seconds as u64 * hz as u64) >> 8) as u32,
        }
    }

    /// The same clock for the reference.
    #[must_use]
    pub const fn reference(self, now: u32) -> reference::Clock {
        match self {
            Self::Seconds => reference::Clock::ktime(now),
            Self::Jiffies { hz } => reference::Clock::jiffies(now, hz),
        }
    }
}

/// A clock that can be read.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    units: Units,
    /// Jiffies at the moment the monotonic clock showed 0, by which later readings go.
    jiffies_at_zero: f64,
}

impl Clock {
    /// Seconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn ktime() -> Self {
        Self { units: Units::Seconds, jiffies_at_zero: 0.0 }
    }

    /// `jiffies >> 8`; measures HZ for a moment.
    pub fn jiffies() -> Result<Self> {
        let (start, first) = (sys::monotonic()?, read_jiffies()?);
        thread::sleep(SAMPLE);
        let (end, second) = (sys::monotonic()?, read_jiffies()?);
        let rate = (second - first) / end.saturating_sub(start).as_secs_f64();
        let distance = |hz: u32| (f64::from(hz) - rate).abs();
        let hz = KNOWN_HZ.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let hz = hz.filter(|hz| distance(*hz) < f64::from(*hz) * 0.15);
        let Some(hz) = hz else {
            bail!("measured {rate:.0} jiffies a second, which no kernel is built with")
        };
        let jiffies_at_zero = second - end.as_secs_f64() * f64::from(hz);
        Ok(Self { units: Units::Jiffies { hz }, jiffies_at_zero })
    }

    #[must_use]
    pub const fn units(&self) -> Units {
        self.units
    }

    /// The present, in the clock's units.
    pub fn now(&self) -> Result<u32> {
        let monotonic = sys::monotonic()?;
        match self.units {
            Units::Seconds => Ok(u32::try_from(monotonic.as_secs())?),
            Units::Jiffies { hz } => {
                let jiffies = self.jiffies_at_zero + monotonic.as_secs_f64() * f64::from(hz);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "below 2^32 for years"
                )]
                Ok((jiffies / 256.0) as u32)
            }
        }
    }
}

/// The kernel's counter: `/proc/schedstat` has it where statistics are built in, `/proc/timer_list` for root.
fn read_jiffies() -> Result<f64> {
    for (path, prefix) in [("/proc/schedstat", "timestamp "), ("/proc/timer_list", "jiffies: ")] {
        let Ok(text) = fs::read_to_string(path) else { continue };
        if let Some(number) = text.lines().find_map(|line| line.strip_prefix(prefix)) {
            return number.trim().parse().with_context(|| format!("failed to parse jiffies in {path}"));
        }
    }
    bail!("neither /proc/schedstat nor /proc/timer_list tells jiffies: run as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_as_the_datapath_does() {
        assert_eq!(Units::Seconds.of(8_000), 8_000);
        assert_eq!(Units::Jiffies { hz: 250 }.of(8_000), 7_812);
        assert_eq!(Units::Jiffies { hz: 100 }.of(10), 3, "as in a real dump of such a node");
    }

    #[test]
    fn both_clocks_move_on_and_stand_where_kernels_start_them() {
        let ktime = Clock::ktime().now().unwrap();
        assert!(u64::from(ktime).abs_diff(sys::monotonic().unwrap().as_secs()) <= 1);
        let clock = Clock::jiffies().unwrap();
        let Units::Jiffies { hz } = clock.units() else { panic!("not jiffies") };
        // The counter starts 300 s before its lower half wraps, and stands still in no state a test runs in.
        let start = ((1_u64 << 32) - u64::from(300 * hz)) >> 8;
        let expected = start + ((u64::from(ktime) * u64::from(hz)) >> 8);
        assert!(u64::from(clock.now().unwrap()).abs_diff(expected) < 30, "hz {hz}");
    }
}
