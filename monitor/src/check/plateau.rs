//! Where a node's conntrack tables end up: Cilium's collector, run forward.
//!
//! In: living entries, how many die a second, the capacity, how the collector's interval is set. Out: the plateau and
//! the interval it has then. Must not: know the present: it answers "if this load goes on".
//!
//! The rule is Cilium's (`GetInterval` in
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>): a pass that removed less than 5 % of
//! **`max_entries`** from every map makes the next one wait 1.5 times as long. A bigger map makes it worse.

use std::time::Duration;

/// `defaults.ConntrackGCStartingInterval`.
const START: f64 = 300.0;
/// `defaults.ConntrackGCMinInterval`.
const SHORTEST: f64 = 10.0;
/// `defaults.ConntrackGCMaxLRUInterval`.
const LONGEST: f64 = 43_200.0;
/// Passes simulated: thirteen lead to the longest interval, what is not settled then goes round in circles.
const PASSES: usize = 48;

/// What one map of the node takes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inflow {
    /// Entries that die a second.
    pub dying: f64,
    /// The map's `max_entries`.
    pub capacity: f64,
}

/// How the collector's interval is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Cilium's own rule.
    Adaptive,
    /// `conntrack-gc-interval`.
    Fixed(Duration),
    /// `conntrack-gc-max-interval`.
    Capped(Duration),
}

/// Where it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// The most entries right before a pass.
    pub entries: f64,
    /// The collector's interval then.
    pub interval: Duration,
    /// How long it takes to get there from a start of the agent.
    pub after: Duration,
}

/// Runs the collector forward over maps that take in this much beside `living` entries that stay.
#[must_use]
pub fn plateau(living: f64, maps: &[Inflow], rule: Interval) -> Plateau {
    let (longest, fixed) = match rule {
        Interval::Adaptive => (LONGEST, None),
        Interval::Fixed(interval) => (LONGEST, Some(interval.as_secs_f64())),
        Interval::Capped(cap) => (cap.as_secs_f64().min(LONGEST), None),
    };
    let mut own = START;
    let (mut clock, mut most) = (0.0, None::<Plateau>);
    for _ in 0..PASSES {
        let interval = fixed.unwrap_or(own).min(longest);
        clock += interval;
        // What died since the last pass, at the most what the map holds: beyond that the kernel evicts.
        let removed = |map: &Inflow| (map.dying * interval).min(map.capacity);
        let entries = living + maps.iter().map(removed).sum::<f64>();
        // A rounding error is no rise.
        if most.is_none_or(|most| entries > most.entries * 1.000_001) {
            most = Some(Plateau { entries, interval: seconds(interval), after: seconds(clock) });
        }
        let share = maps.iter().map(|map| ratio(removed(map), map.capacity)).fold(0.0, f64::max);
        if share > 0.25 {
            own = (own * (1.0 - share.min(0.9))).round().max(SHORTEST);
        } else if share > 0.0 && share < 0.05 {
            own = (own * 1.5).round().min(LONGEST);
        }
    }
    most.unwrap_or(Plateau { entries: living, interval: seconds(START), after: Duration::ZERO })
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One closed connection to the storage server a second, 0.3 UDP flows a second, 4,000 entries that live.
    fn incident(tcp_capacity: u32, rule: Interval) -> Plateau {
        let maps = [
            Inflow { dying: 1.0, capacity: f64::from(tcp_capacity) },
            Inflow { dying: 0.3, capacity: f64::from(tcp_capacity) / 2.0 },
        ];
        plateau(4_000.0, &maps, rule)
    }

    fn check(found: Plateau, entries: f64, hours: f64) {
        assert!((found.entries - entries).abs() < entries * 0.02, "{found:?}, expected {entries}");
        let found_hours = found.interval.as_secs_f64() / 3600.0;
        assert!((found_hours - hours).abs() < hours * 0.02, "{found:?}, expected {hours} h");
    }

    #[test]
    fn a_bigger_map_makes_it_worse() {
        check(incident(147_295, Interval::Adaptive), 14_000.0, 2.14);
        check(incident(295_414, Interval::Adaptive), 26_500.0, 4.81);
        check(incident(524_288, Interval::Adaptive), 54_600.0, 10.8);
    }

    #[test]
    fn a_fixed_or_capped_interval_is_the_remedy() {
        let five = Duration::from_secs(300);
        check(incident(524_288, Interval::Fixed(five)), 4_400.0, 300.0 / 3600.0);
        check(incident(524_288, Interval::Capped(five)), 4_400.0, 300.0 / 3600.0);
        check(incident(524_288, Interval::Capped(Duration::from_secs(600))), 4_780.0, 600.0 / 3600.0);
    }

    #[test]
    fn a_quiet_node_drifts_to_the_longest_interval_within_a_day_and_a_half() {
        let found = plateau(300.0, &[Inflow { dying: 0.01, capacity: 131_072.0 }], Interval::Adaptive);
        assert_eq!(found.interval, Duration::from_secs(43_200));
        assert!(found.after < Duration::from_secs(48 * 3600), "{found:?}");
        assert!((found.entries - 732.0).abs() < 1.0, "{found:?}");
    }

    #[test]
    fn a_busy_map_shortens_the_interval_and_never_holds_more_than_its_capacity() {
        let found = plateau(0.0, &[Inflow { dying: 1_000.0, capacity: 100_000.0 }], Interval::Adaptive);
        assert!(found.entries <= 100_000.0 && found.interval <= Duration::from_secs(300), "{found:?}");
        let nothing = plateau(7.0, &[], Interval::Adaptive);
        assert!((nothing.entries - 7.0).abs() < 1e-9, "{nothing:?}");
    }
}
