//! The two clocks Cilium may stamp its entries with, read on the test's side.
//!
//! In: `CLOCK_MONOTONIC` and what /proc says of jiffies. Out: `now` and durations in a clock's units.
//! Must not: guess HZ: it is measured.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::reference;
use crate::sys;

/// Rates that kernels for amd64 and arm64 are built with.
const KNOWN_HZ: [u32; 4] = [100, 250, 300, 1000];
/// Jiffies when a kernel starts: so that they wrap 32 bits after five minutes.
const START: f64 = 4_294_967_296.0;
const WRAP_AFTER: f64 = 300.0;
/// So late may jiffies be: where the processor that counts them is an emulated one that waits for its turn.
const LATE: f64 = 0.5;
/// So far from each other may both clocks have started.
const APART: f64 = 5.0;
/// Between two readings of jiffies.
const PAUSE: Duration = Duration::from_millis(100);
/// After so long a clock that fits no known rate never will.
const PATIENCE: Duration = Duration::from_secs(120);

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
        static HZ: Mutex<Option<u32>> = Mutex::new(None);
        let first = JiffiesAt::read()?;
        // One measures for all.
        let mut known = HZ.lock().unwrap_or_else(PoisonError::into_inner);
        let hz = match *known {
            Some(hz) => hz,
            None => *known.insert(first.measure_hz()?),
        };
        let mut jiffies_at_zero = first.at_zero(hz);
        for _ in 0..10 {
            // Jiffies may be late, never early.
            jiffies_at_zero = jiffies_at_zero.max(JiffiesAt::read()?.at_zero(hz));
        }
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

/// A reading of jiffies, and the monotonic clock on both sides of it: a busy machine may put any time in between.
#[derive(Clone, Copy, Debug)]
struct JiffiesAt {
    before: f64,
    jiffies: f64,
    after: f64,
}

impl JiffiesAt {
    fn read() -> Result<Self> {
        let monotonic = || sys::monotonic().map(|time| time.as_secs_f64());
        Ok(Self { before: monotonic()?, jiffies: read_jiffies()?, after: monotonic()? })
    }

    /// Reads again until only one rate is left.
    fn measure_hz(&self) -> Result<u32> {
        let mut last = *self;
        loop {
            let fitting: Vec<u32> = KNOWN_HZ.into_iter().filter(|hz| self.fits(&last, *hz)).collect();
            if let [hz] = *fitting.as_slice() {
                return Ok(hz);
            }
            let passed = last.after - self.before;
            if passed > PATIENCE.as_secs_f64() {
                let rate = (last.jiffies - self.jiffies) / passed;
                bail!("{rate:.0} jiffies a second: of {KNOWN_HZ:?} {fitting:?} fit");
            }
            thread::sleep(PAUSE);
            last = Self::read()?;
        }
    }

    /// Whether jiffies that run so fast read so, here and at a later reading.
    fn fits(&self, later: &Self, hz: u32) -> bool {
        let hz = f64::from(hz);
        let seconds = |jiffies: f64| jiffies / hz;
        // Since both clocks started, and between the readings.
        let since_start = seconds(later.jiffies - START) + WRAP_AFTER;
        let started = (later.before - APART - LATE..=later.after + APART).contains(&since_start);
        let passed = seconds(later.jiffies - self.jiffies);
        let tick = seconds(1.0);
        let ran = (later.before - self.after - LATE - tick..=later.after - self.before + LATE + tick)
            .contains(&passed);
        started && ran
    }

    /// Jiffies when the monotonic clock showed 0, at the least.
    fn at_zero(&self, hz: u32) -> f64 {
        self.jiffies - self.after * f64::from(hz)
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
    fn only_the_true_rate_fits_once_enough_time_has_passed() {
        let at = |before: f64, hz: f64, late: f64, width: f64| JiffiesAt {
            before,
            jiffies: (START + (before - late - WRAP_AFTER) * hz).floor(),
            after: before + width,
        };
        let check = |first: JiffiesAt, last: JiffiesAt, expected: &[u32]| {
            let fitting: Vec<u32> = KNOWN_HZ.into_iter().filter(|hz| first.fits(&last, *hz)).collect();
            assert_eq!(fitting, expected, "{first:?} {last:?}");
        };
        // A machine that booted just now, and one that is up for a month: one reading tells.
        for hz in KNOWN_HZ {
            for up in [1.0, 60.0, 1_200.0, 2_600_000.0] {
                let now = at(up, f64::from(hz), 0.0, 0.01);
                check(now, now, &[hz]);
            }
        }
        // Around the wrap all rates meet: the distance of two readings tells, though jiffies are late in one.
        check(at(300.0, 250.0, 0.0, 0.01), at(300.1, 250.0, 0.0, 0.01), &KNOWN_HZ);
        check(at(300.0, 250.0, 0.4, 0.01), at(308.0, 250.0, 0.0, 0.01), &[250]);
        check(at(300.0, 250.0, 0.0, 0.01), at(308.0, 250.0, 0.4, 0.01), &[250]);
        // A rate that no kernel has.
        check(at(1_200.0, 600.0, 0.0, 0.01), at(1_210.0, 600.0, 0.0, 0.01), &[]);
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
