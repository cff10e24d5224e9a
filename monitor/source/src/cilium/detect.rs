//! Finds out which clock the node's lifetimes are on, and how fast its jiffies run.
//!
//! In: lifetimes of real entries, both kernel clocks. Out: a verdict, or that there is none.
//! Must not: ask for a version or a configuration: the entries themselves tell.
//!
//! Jiffies start near 2^32, so `jiffies >> 8` starts near 16.7 million, which seconds of `CLOCK_MONOTONIC`
//! reach after 194 days; an entry's lifetime lies near now on its own clock only.

use monitor_abi::scan::Clock;

use monitor_model::clock::Clocks;

/// An entry may wait this long for the gc's longest interval, in seconds.
const LONGEST_OVERDUE: i64 = 13 * 3600;
/// A lifetime may lie this far ahead, in seconds.
const LONGEST_LEFT: i64 = 36 * 3600;
/// Frequencies kernels are built with.
const KNOWN_HZ: [u32; 4] = [100, 250, 300, 1000];

/// Votes of entries for either clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    pub entries: u32,
    pub ktime: u32,
    pub jiffies: u32,
}

impl Votes {
    /// Lets one entry vote for every clock on which its lifetime is plausible.
    pub fn add(&mut self, lifetime: u32, clocks: Clocks) {
        self.entries += 1;
        let left = |now: u64| i64::from(lifetime) - i64::try_from(now & 0xffff_ffff).unwrap_or(0);
        let seconds = left(clocks.ktime_ns / 1_000_000_000);
        if (-LONGEST_OVERDUE..=LONGEST_LEFT).contains(&seconds) {
            self.ktime += 1;
        }
        // A unit is between 0.256 s (HZ 1000) and 2.56 s (HZ 100): the wider window serves all.
        let units = left(clocks.jiffies >> 8);
        if (-LONGEST_OVERDUE * 4..=LONGEST_LEFT * 4).contains(&units) {
            self.jiffies += 1;
        }
    }

    /// The clock most entries are plausible on; undecided without entries, without a majority, or when both
    /// clocks would do (their readings come close to each other once in a machine's life).
    #[must_use]
    pub fn verdict(self) -> Clock {
        let most = |votes: u32| votes * 2 > self.entries;
        match (most(self.ktime), most(self.jiffies)) {
            (true, false) => Clock::Ktime,
            (false, true) => Clock::Jiffies,
            _ => Clock::Undecided,
        }
    }
}

/// Jiffies per second between two readings; `None` when they lie too close together to tell.
#[must_use]
pub fn hz(before: Clocks, after: Clocks) -> Option<u32> {
    let elapsed = after.ktime_ns.checked_sub(before.ktime_ns).filter(|ns| *ns >= 100_000_000)?;
    let jiffies = after.jiffies.checked_sub(before.jiffies)?;
    let measured = u64::try_from(u128::from(jiffies) * 1_000_000_000 / u128::from(elapsed)).ok()?;
    let measured = u32::try_from(measured).ok().filter(|hz| *hz > 0)?;
    // A kernel has one of a few frequencies; a tick more or less is the reading's error.
    Some(KNOWN_HZ.into_iter().find(|known| measured.abs_diff(*known) * 20 <= *known).unwrap_or(measured))
}

/// Whether kernels are built with it; another one may be a reading's error.
#[must_use]
pub fn is_known_hz(hz: u32) -> bool {
    KNOWN_HZ.contains(&hz)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP_ONE_HOUR: Clocks = Clocks { ktime_ns: 3_600_000_000_000, jiffies: 4_294_967_296 + 825_000 };

    fn verdict(lifetimes: &[u32], clocks: Clocks) -> Clock {
        let mut votes = Votes::default();
        for lifetime in lifetimes {
            votes.add(*lifetime, clocks);
        }
        votes.verdict()
    }

    #[test]
    fn entries_tell_their_clock() {
        assert_eq!(verdict(&[3_500, 11_600, 3_660], UP_ONE_HOUR), Clock::Ktime);
        let now = u32::try_from(UP_ONE_HOUR.jiffies >> 8).unwrap();
        assert_eq!(verdict(&[now - 300, now + 7_812, now + 58], UP_ONE_HOUR), Clock::Jiffies);
    }

    #[test]
    fn a_few_odd_entries_do_not_sway_the_rest() {
        assert_eq!(verdict(&[3_500, 11_600, 3_660, 0xffff_ffff], UP_ONE_HOUR), Clock::Ktime);
    }

    #[test]
    fn no_entries_and_readings_that_meet_leave_it_open() {
        assert_eq!(verdict(&[], UP_ONE_HOUR), Clock::Undecided);
        assert_eq!(verdict(&[0xffff_ffff, 0xfff0_0000], UP_ONE_HOUR), Clock::Undecided);
        let met = Clocks { ktime_ns: 17_000_000 * 1_000_000_000, jiffies: 17_000_000 << 8 };
        assert_eq!(verdict(&[17_000_060], met), Clock::Undecided);
    }

    #[test]
    fn a_frequency_is_measured_and_snapped() {
        let at = |ms: u64, jiffies: u64| Clocks { ktime_ns: ms * 1_000_000, jiffies };
        assert_eq!(hz(at(0, 0), at(100, 25)), Some(250));
        assert_eq!(hz(at(0, 0), at(1_000, 249)), Some(250));
        assert_eq!(hz(at(0, 0), at(1_000, 1_001)), Some(1000));
        assert_eq!(hz(at(0, 0), at(1_000, 512)), Some(512), "an unusual kernel keeps what was measured");
        assert_eq!(hz(at(0, 0), at(50, 12)), None, "too close to tell");
        assert_eq!(hz(at(5, 5), at(0, 0)), None);
    }
}
