//! Where a node's conntrack tables end up: Cilium's gc, run forward.
//!
//! In: per map what lives, what dies a second, the capacity; how the gc's interval is set, and what it is now.
//! Out: the cycle that the tables settle in. Must not: know the present: it answers "if this load goes on".
//!
//! The rule is Cilium's, 1.14 to 1.18 (`GetInterval` in
//! <https://github.com/cilium/cilium/blob/v1.18.0/pkg/maps/ctmap/ctmap.go>): a pass that removed less than 5 % of
//! **`max_entries`** from every map makes the next one wait 1.5 times as long, one that removed more than 25 % shortens the
//! wait. A bigger map makes it worse. Cilium's main branch waits half as long above three quarters of fill, and signals
//! bring passes forward: either only means less than what is told here.

use std::collections::BTreeMap;
use std::time::Duration;

/// `defaults.ConntrackGCStartingInterval`.
const START: f64 = 300.0;
/// `defaults.ConntrackGCMinInterval`.
const SHORTEST: f64 = 10.0;
/// `defaults.ConntrackGCMaxLRUInterval`.
const LONGEST: f64 = 43_200.0;
/// Passes looked ahead. Intervals are whole seconds and follow from each other: they repeat long before.
const PASSES: usize = 1_000;

/// What one map of the node takes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inflow {
    /// Entries that stay.
    pub living: f64,
    /// Entries that die a second.
    pub dying: f64,
    /// The map's `max_entries`.
    pub capacity: f64,
}

/// How the gc's interval is set.
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
#[derive(Clone, Debug, PartialEq)]
pub struct SteadyState {
    /// The most entries each map holds, right before a pass.
    pub entries: Vec<f64>,
    /// The longest interval that keeps coming back.
    pub interval: Duration,
    /// How long it takes to get there.
    pub after: Duration,
}

/// The interval after a pass that removed at most this share of a map's capacity.
#[must_use]
pub fn next_interval(interval: f64, share: f64) -> f64 {
    if share > 0.25 {
        (interval * (1.0 - share.min(0.9))).round().max(SHORTEST)
    } else if share > 0.0 && share < 0.05 {
        (interval * 1.5).round().min(LONGEST)
    } else {
        interval
    }
}

/// Runs the gc forward over these maps, from the interval it has now, or has when the agent starts.
#[must_use]
pub fn steady_state(maps: &[Inflow], rule: Interval, now: Option<Duration>) -> SteadyState {
    let (longest, fixed) = match rule {
        Interval::Adaptive => (LONGEST, None),
        Interval::Fixed(interval) => (LONGEST, Some(interval.as_secs_f64())),
        Interval::Capped(cap) => (cap.as_secs_f64().min(LONGEST), None),
    };
    let mut own = now.map_or(START, |now| now.as_secs_f64().round().clamp(SHORTEST, LONGEST));
    let (mut clock, mut waited) = (0.0, Vec::new());
    let mut known: BTreeMap<u64, usize> = BTreeMap::new();
    let mut begin = 0;
    for pass in 0..PASSES {
        let state = fixed.unwrap_or(own);
        let interval = state.min(longest);
        // The same interval leads to the same passes: what follows was there before.
        if let Some(first) = known.insert(state.to_bits(), pass) {
            begin = first;
            break;
        }
        clock += interval;
        waited.push((interval, clock));
        let share = maps.iter().map(|map| ratio(map.removed(interval), map.capacity)).fold(0.0, f64::max);
        own = next_interval(own, share);
    }
    let cycle = waited.get(begin..).unwrap_or_default();
    let interval = cycle.iter().map(|(interval, _)| *interval).fold(0.0, f64::max);
    SteadyState {
        entries: maps.iter().map(|map| map.living.min(map.capacity) + map.removed(interval)).collect(),
        interval: seconds(interval),
        after: seconds(cycle.first().map_or(0.0, |(interval, end)| end - interval)),
    }
}

impl Inflow {
    /// What a pass after this wait removes: what died, at the most what the map has room for beside the living. Beyond
    /// that the kernel evicts.
    fn removed(&self, interval: f64) -> f64 {
        (self.dying * interval).min((self.capacity - self.living).max(0.0))
    }
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

    const FIVE: Duration = Duration::from_secs(300);

    /// One closed connection to the storage server a second, 0.3 UDP flows a second, 4,000 entries that live.
    fn incident(tcp_capacity: u32, rule: Interval) -> (f64, f64) {
        let capacity = f64::from(tcp_capacity);
        let maps = [
            Inflow { living: 3_000.0, dying: 1.0, capacity },
            Inflow { living: 1_000.0, dying: 0.3, capacity: capacity / 2.0 },
        ];
        let found = steady_state(&maps, rule, None);
        (found.entries.iter().sum(), found.interval.as_secs_f64() / 3600.0)
    }

    fn check(found: (f64, f64), entries: f64, hours: f64) {
        assert!((found.0 - entries).abs() < entries * 0.02, "{found:?}, expected {entries}");
        assert!((found.1 - hours).abs() < hours * 0.02, "{found:?}, expected {hours} h");
    }

    #[test]
    fn a_bigger_map_makes_it_worse() {
        check(incident(147_295, Interval::Adaptive), 14_000.0, 2.14);
        check(incident(295_414, Interval::Adaptive), 26_500.0, 4.81);
        check(incident(524_288, Interval::Adaptive), 54_600.0, 10.8);
    }

    #[test]
    fn a_fixed_or_capped_interval_is_the_remedy() {
        check(incident(524_288, Interval::Fixed(FIVE)), 4_400.0, 300.0 / 3600.0);
        check(incident(524_288, Interval::Capped(FIVE)), 4_400.0, 300.0 / 3600.0);
        check(incident(524_288, Interval::Capped(2 * FIVE)), 4_780.0, 600.0 / 3600.0);
    }

    #[test]
    fn a_quiet_node_drifts_to_the_longest_interval_within_a_day_and_a_half() {
        let map = Inflow { living: 300.0, dying: 0.01, capacity: 131_072.0 };
        let found = steady_state(&[map], Interval::Adaptive, None);
        assert_eq!(found.interval, Duration::from_secs(43_200));
        assert!(found.after < Duration::from_secs(48 * 3600), "{found:?}");
        assert!((found.entries[0] - 732.0).abs() < 1.0, "{found:?}");
    }

    #[test]
    fn no_map_is_said_to_hold_more_than_it_can() {
        let map = Inflow { living: 100_000.0, dying: 500.0, capacity: 131_072.0 };
        for rule in [Interval::Adaptive, Interval::Fixed(FIVE), Interval::Fixed(12 * FIVE)] {
            assert!(steady_state(&[map], rule, None).entries[0] <= map.capacity, "{rule:?}");
        }
        let full = Inflow { living: 200_000.0, dying: 1.0, ..map };
        assert!(steady_state(&[full], Interval::Adaptive, None).entries[0] <= full.capacity);
        assert!(steady_state(&[], Interval::Adaptive, None).entries.is_empty());
    }

    #[test]
    fn what_counts_is_the_cycle_and_not_the_largest_pass_on_the_way() {
        // The first pass, 5 minutes after the start, removes 61 % of the map: nothing like it comes again.
        let map = Inflow { living: 0.0, dying: 266.0, capacity: 131_072.0 };
        let found = steady_state(&[map], Interval::Adaptive, None);
        assert!(found.entries[0] < 0.5 * 266.0 * 300.0, "{found:?}");
        assert!(!found.after.is_zero(), "{found:?}");
    }
}
