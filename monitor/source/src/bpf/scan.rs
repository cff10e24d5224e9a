//! What one walk is asked for.
//!
//! In: settings. Out: [`Ask`], in the clock's own units. Must not: say a bound in units that are unknown.

use monitor_abi::scan::Clock;
use monitor_model::clock::ClockNow;

/// What a scan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub clock: Clock,
    /// Bounds of the due classes in clock units.
    pub bounds: [i32; 11],
    /// Clock units after which a stale entry lingers.
    pub stale_after: u32,
    /// Log the first entry of each kind that Cilium does not define.
    pub log: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self { clock: Clock::Undecided, bounds: [0; 11], stale_after: u32::MAX, log: false }
    }
}

/// The due classes' bounds in clock units: the smallest number of units that is at least so many seconds.
/// `None` while the clock, or its frequency, is unknown.
pub(crate) fn bounds_in_units(seconds: [i64; 11], reading: ClockNow) -> Option<[i32; 11]> {
    let scale = match reading.mode {
        Clock::Undecided => return None,
        Clock::Ktime => return Some(seconds.map(saturate)),
        Clock::Jiffies if reading.hz == 0 => return None,
        Clock::Jiffies => i64::from(reading.hz),
    };
    // One unit is 256 jiffies.
    Some(seconds.map(|seconds| {
        let jiffies = seconds * scale;
        saturate(jiffies.div_euclid(256) + i64::from(jiffies.rem_euclid(256) != 0))
    }))
}

fn saturate(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use monitor_abi::class::DUE_BOUNDS;

    use super::*;

    #[test]
    fn bounds_in_jiffies_part_the_same_seconds() {
        for hz in [100, 250, 300, 1000] {
            let reading = ClockNow::jiffies(0, hz);
            let bounds = bounds_in_units(DUE_BOUNDS, reading).unwrap();
            for (bound, seconds) in bounds.iter().zip(DUE_BOUNDS) {
                let at = |units: i32| i64::from(units) * 256 >= seconds * i64::from(hz);
                assert!(
                    at(*bound) && !at(*bound - 1),
                    "{bound} units are the first of {seconds} s at HZ {hz}"
                );
            }
        }
        assert_eq!(bounds_in_units(DUE_BOUNDS, ClockNow::jiffies(0, 0)), None);
    }
}
