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
/// Between two readings of jiffies.
const PAUSE: Duration = Duration::from_millis(100);
/// After so long a clock that fits no known rate never will.
const PATIENCE: Duration = Duration::from_secs(60);

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

    /// `jiffies >> 8`; measures HZ until only one rate is left, however busy the machine is.
    pub fn jiffies() -> Result<Self> {
        let first = JiffiesAt::read()?;
        loop {
            thread::sleep(PAUSE);
            let last = JiffiesAt::read()?;
            let (from, to) = first.rate_until(&last);
            let fitting: Vec<u32> =
                KNOWN_HZ.into_iter().filter(|hz| (from..=to).contains(&f64::from(*hz))).collect();
            match *fitting.as_slice() {
                [hz] => return Ok(Self { units: Units::Jiffies { hz }, jiffies_at_zero: last.at_zero(hz) }),
                [_, ..] if last.after.saturating_sub(first.before) < PATIENCE => {}
                _ => {
                    bail!("measured {from:.0} to {to:.0} jiffies a second, which no kernel is built with")
                }
            }
        }
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

/// A reading of jiffies, and the monotonic clock on both sides of it: a busy machine may put any time in between.
#[derive(Clone, Copy, Debug)]
struct JiffiesAt {
    before: Duration,
    jiffies: f64,
    after: Duration,
}

impl JiffiesAt {
    /// The closest of a few.
    fn read() -> Result<Self> {
        let mut closest: Option<Self> = None;
        for _ in 0..10 {
            let (before, jiffies, after) = (sys::monotonic()?, read_jiffies()?, sys::monotonic()?);
            let read = Self { before, jiffies, after };
            if closest.is_none_or(|known| read.width() < known.width()) {
                closest = Some(read);
            }
        }
        closest.context("jiffies were not read")
    }

    const fn width(&self) -> Duration {
        self.after.saturating_sub(self.before)
    }

    /// Jiffies a second between this reading and a later one, at the least and at the most.
    fn rate_until(&self, later: &Self) -> (f64, f64) {
        let jiffies = later.jiffies - self.jiffies;
        let longest = later.after.saturating_sub(self.before).as_secs_f64();
        let shortest = later.before.saturating_sub(self.after).as_secs_f64();
        ((jiffies - 1.0) / longest, (jiffies + 1.0) / shortest)
    }

    fn at_zero(&self, hz: u32) -> f64 {
        let middle = (self.before + self.after) / 2;
        self.jiffies - middle.as_secs_f64() * f64::from(hz)
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
    fn a_rate_lies_between_what_the_readings_allow() {
        let at = |ms: u64, jiffies: f64, width: u64| JiffiesAt {
            before: Duration::from_millis(ms),
            jiffies,
            after: Duration::from_millis(ms + width),
        };
        let check = |first: JiffiesAt, last: JiffiesAt, expected: &[u32]| {
            let (from, to) = first.rate_until(&last);
            let fitting: Vec<u32> =
                KNOWN_HZ.into_iter().filter(|hz| (from..=to).contains(&f64::from(*hz))).collect();
            assert_eq!(fitting, expected, "{from} to {to}");
        };
        check(at(0, 0.0, 1), at(100, 25.0, 1), &[250]);
        // A machine that was away while it read cannot tell yet; later it can.
        check(at(0, 0.0, 40), at(100, 25.0, 40), &[250, 300]);
        check(at(0, 0.0, 40), at(2_000, 500.0, 40), &[250]);
        check(at(0, 0.0, 1), at(100, 102.0, 1), &[1000, 1024]);
        check(at(0, 0.0, 1), at(1_000, 1_024.0, 1), &[1024]);
        check(at(0, 0.0, 1), at(1_000, 600.0, 1), &[]);
    }

    #[test]
    fn both_clocks_move_on_and_stand_where_kernels_start_them() {
        let seconds = || sys::monotonic().unwrap().as_secs();
        let clock = Clock::jiffies().unwrap();
        let (before, ktime, after) = (seconds(), Clock::ktime().now().unwrap(), seconds());
        assert!((before..=after).contains(&u64::from(ktime)), "{ktime}");
        let Units::Jiffies { hz } = clock.units() else { panic!("not jiffies") };
        // The counter starts 300 s before its lower half wraps, and stands still in no state a test runs in.
        let start = ((1_u64 << 32) - u64::from(300 * hz)) >> 8;
        let expected = start + ((u64::from(ktime) * u64::from(hz)) >> 8);
        assert!(u64::from(clock.now().unwrap()).abs_diff(expected) < 30, "hz {hz}");
    }
}
