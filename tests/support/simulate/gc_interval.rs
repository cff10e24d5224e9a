//! Cilium's rule for how long its garbage collector (gc) waits between passes.
//!
//! In: how much a pass deleted. Out: the next interval. Must not: know what was deleted or when passes run.
//!
//! The rule of `GetInterval` and `calculateInterval` in
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>: it compares with **`max_entries`**, so
//! a big and lightly used table makes the gc slower and slower.

use std::time::Duration;

/// `defaults.ConntrackGCStartingInterval`.
pub const START: Duration = Duration::from_secs(5 * 60);
/// `defaults.ConntrackGCMinInterval`.
pub const SHORTEST: Duration = Duration::from_secs(10);
/// `defaults.ConntrackGCMaxLRUInterval`.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The gc's interval and what configuration says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GcInterval {
    interval: Duration,
    fixed: Option<Duration>,
    cap: Option<Duration>,
    /// Half the interval is waited while any map is fuller than this.
    hurried_above: Option<f64>,
}

impl Default for GcInterval {
    fn default() -> Self {
        Self { interval: START, fixed: None, cap: None, hurried_above: None }
    }
}

impl GcInterval {
    /// `conntrack-gc-interval` set: the rule is off.
    #[must_use]
    pub const fn fixed(interval: Duration) -> Self {
        Self { interval, fixed: Some(interval), cap: None, hurried_above: None }
    }

    /// `conntrack-gc-max-interval` set.
    #[must_use]
    pub fn capped(cap: Duration) -> Self {
        Self { interval: START.min(cap), cap: Some(cap), ..Self::default() }
    }

    /// As on Cilium's main branch: above three quarters of pressure only half the interval is waited.
    #[must_use]
    pub fn hurried() -> Self {
        Self { hurried_above: Some(0.75), ..Self::default() }
    }

    /// The present interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.cap.map_or(self.interval, |cap| self.interval.min(cap))
    }

    /// The same after so many seconds since the last pass, with the fullest map filled to `pressure`: a pass that a
    /// signal brought early is taken for what it would have deleted had it come in time. What is waited now.
    pub fn finish_pass_after(&mut self, deleted_ratio: f64, waited: Option<f64>, pressure: f64) -> Duration {
        let expected = self.interval.as_secs_f64();
        let early = waited.filter(|waited| *waited > 0.0 && *waited < expected);
        let wait = self.finish_pass(early.map_or(deleted_ratio, |waited| deleted_ratio * expected / waited));
        if self.hurried_above.is_some_and(|above| pressure > above) { wait / 2 } else { wait }
    }

    /// Learns what a pass did: the highest share of `max_entries` it deleted in any map. Gives the next interval.
    pub fn finish_pass(&mut self, deleted_ratio: f64) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        if deleted_ratio > 0.25 {
            self.interval = rounded(self.interval, 1.0 - deleted_ratio.min(0.9)).max(SHORTEST);
        } else if deleted_ratio > 0.0 && deleted_ratio < 0.05 {
            self.interval = rounded(self.interval, 1.5).min(LONGEST);
        }
        self.interval()
    }
}

/// Go's `Round(time.Second)`: halves away from zero.
fn rounded(interval: Duration, factor: f64) -> Duration {
    Duration::from_secs_f64((interval.as_secs_f64() * factor).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(gc: &mut GcInterval, ratio: f64) -> u64 {
        gc.finish_pass(ratio).as_secs()
    }

    #[test]
    fn a_lightly_used_table_slows_the_gc_down_to_half_a_day() {
        let mut gc = GcInterval::default();
        let intervals: Vec<u64> = (0..13).map(|_| after(&mut gc, 0.01)).collect();
        assert_eq!(intervals[..5], [450, 675, 1013, 1520, 2280]);
        assert_eq!(intervals[12], 12 * 3600, "thirteen passes: {intervals:?}");
        assert_eq!(after(&mut gc, 0.01), 12 * 3600);
    }

    #[test]
    fn only_shares_below_five_and_above_twenty_five_per_cent_change_the_interval() {
        for (ratio, expected) in [
            (0.0, 300),
            (0.000_01, 450),
            (0.049_99, 450),
            (0.05, 300),
            (0.25, 300),
            (0.3, 210),
            (0.9, 30),
            (1.0, 30),
        ] {
            assert_eq!(after(&mut GcInterval::default(), ratio), expected, "{ratio}");
        }
        let mut gc = GcInterval::default();
        for _ in 0..5 {
            gc.finish_pass(1.0);
        }
        assert_eq!(gc.interval(), SHORTEST);
    }

    #[test]
    fn an_early_pass_is_scaled_and_pressure_halves_the_wait() {
        let after = |gc: &mut GcInterval, ratio, waited, pressure| {
            gc.finish_pass_after(ratio, waited, pressure).as_secs()
        };
        assert_eq!(after(&mut GcInterval::default(), 0.04, Some(30.0), 0.0), 180, "0.4 of the map in time");
        assert_eq!(after(&mut GcInterval::default(), 0.04, Some(400.0), 0.9), 450, "late is not scaled");
        assert_eq!(after(&mut GcInterval::hurried(), 0.1, None, 0.7), 300);
        assert_eq!(after(&mut GcInterval::hurried(), 0.1, None, 0.8), 150);
    }

    #[test]
    fn configuration_fixes_or_caps_the_interval() {
        let five = Duration::from_secs(300);
        let mut fixed = GcInterval::fixed(five);
        assert_eq!((after(&mut fixed, 0.01), after(&mut fixed, 0.9)), (300, 300));
        let mut capped = GcInterval::capped(Duration::from_secs(500));
        assert_eq!(
            (after(&mut capped, 0.01), after(&mut capped, 0.01), after(&mut capped, 0.9)),
            (450, 500, 67)
        );
    }
}
