//! How often maps are walked, and what that may cost.
//!
//! In: sizes of maps, what walks and logs took. Out: intervals. Must not: let them take more than their share of a core.

use std::time::Duration;

/// Walking the maps and reading logs may together take one part in this many of one core.
pub const SHARE_OF_A_CORE: u32 = 200;
/// Of what an interval allows, logs may take one part in this many: walks come first.
const SHARE_OF_LOGS: u32 = 2;
/// Slots whose empty buckets alone hold a core for 10 ms: nothing can interrupt a run of them.
const SPARSE_SLOTS: u64 = 1 << 21;
/// The time between two walks of a map of [`SPARSE_SLOTS`]; twice the slots, twice the time.
const SPARSE_INTERVAL: Duration = Duration::from_secs(60);

/// The interval in which these costs are no more than their share of a core.
pub(super) fn stretched(interval: Duration, costs: impl Iterator<Item = Duration>) -> Duration {
    interval.max(costs.sum::<Duration>().saturating_mul(SHARE_OF_A_CORE))
}

/// The processor's time that logs may take in an interval.
pub(super) fn time_for_logs(interval: Duration) -> Duration {
    interval / SHARE_OF_A_CORE / SHARE_OF_LOGS
}

/// The least time between two walks of a map of this size. The kernel rounds its slots up to a power of two.
pub(super) fn sparse_interval(max_entries: u32) -> Duration {
    let slots = u64::from(max_entries).next_power_of_two();
    if slots < SPARSE_SLOTS {
        return Duration::ZERO;
    }
    SPARSE_INTERVAL.saturating_mul(u32::try_from(slots / SPARSE_SLOTS).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_and_logs_together_keep_to_their_share_of_a_core() {
        let check = |interval: u64, costs: &[u64], expected: u64| {
            let costs = costs.iter().copied().map(Duration::from_millis);
            let found = stretched(Duration::from_millis(interval), costs);
            assert_eq!(found, Duration::from_millis(expected));
        };
        check(15_000, &[], 15_000);
        check(15_000, &[20, 20, 35], 15_000);
        check(15_000, &[40, 40, 37], 23_400);
        // Logs alone never make it longer: half of what an interval allows is all they get.
        let most = time_for_logs(Duration::from_secs(15));
        assert_eq!(most, Duration::from_micros(37_500));
        assert_eq!(stretched(Duration::from_secs(15), [most].into_iter()), Duration::from_secs(15));
    }
}
