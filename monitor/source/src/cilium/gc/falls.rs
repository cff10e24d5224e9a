//! The kernel's count of a map's entries, second by second: where it fell.
//!
//! In: counts. Out: falls, each until it stopped falling. Must not: say why it fell, or grow: only what came since the last
//! walks is kept.

use std::collections::VecDeque;
use std::time::Duration;

use monitor_model::float::float;

/// Falls kept at the most, the latest.
const MOST: usize = 64;
/// Seconds that tell what comes while the count falls.
const LATELY: usize = 7;
/// What the last second says of how fast entries come, against what was known before.
const WEIGHT: f64 = 0.3;

/// From the last count before it to the last one that was lower than its predecessor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fall {
    pub from: Duration,
    pub until: Duration,
    pub before: u64,
    pub after: u64,
    /// What came meanwhile, by how fast entries came before.
    inserted: f64,
}

/// The counts of one map.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    last: Option<(Duration, u64)>,
    /// Entries that come in a second, smoothed.
    rise: f64,
    /// The same of the last seconds: one that brought many says nothing of the next.
    rises: VecDeque<f64>,
    open: Option<Fall>,
    falls: Vec<Fall>,
}

impl Fall {
    /// What was removed: the fall, and what came meanwhile.
    pub(super) fn removed(&self) -> u64 {
        self.before.saturating_sub(self.after) + self.blur()
    }

    /// How wrong that may be.
    pub(super) fn blur(&self) -> u64 {
        super::rounded(self.inserted)
    }
}

impl Trace {
    /// Takes the next count.
    pub(super) fn add(&mut self, at: Duration, entries: u64) {
        let Some((before_at, before)) = self.last.replace((at, entries)) else { return };
        let elapsed = at.saturating_sub(before_at).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        if entries < before {
            let median = median(&self.rises);
            let new = Fall { from: before_at, until: at, before, after: entries, inserted: 0.0 };
            let fall = self.open.get_or_insert(new);
            fall.until = at;
            fall.after = entries;
            fall.inserted += median * elapsed;
            return;
        }
        self.falls.extend(self.open.take());
        if self.falls.len() > MOST {
            self.falls.remove(0);
        }
        let rise = float(entries - before) / elapsed;
        self.rise += (rise - self.rise) * WEIGHT;
        self.rises.push_back(rise);
        if self.rises.len() > LATELY {
            self.rises.pop_front();
        }
    }

    /// What may go within two seconds without a fall, because as much comes.
    pub(super) fn hidden(&self) -> u64 {
        super::SIGNIFICANT + self.came(2)
    }

    /// What comes in so many seconds.
    pub(super) fn came(&self, seconds: u64) -> u64 {
        super::rounded(self.rise * float(seconds))
    }

    /// The latest count.
    pub(super) fn last(&self) -> Option<(Duration, u64)> {
        self.last
    }

    /// The falls after this instant, the one that goes on included.
    pub(super) fn since(&self, after: Duration) -> Vec<Fall> {
        self.falls.iter().chain(&self.open).filter(|fall| fall.until > after).copied().collect()
    }

    /// Forgets what is over by then.
    pub(super) fn forget(&mut self, before: Duration) {
        self.falls.retain(|fall| fall.until > before);
    }
}

fn median(rises: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = rises.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(counts: &[u64]) -> Vec<(u64, u64, u64, u64)> {
        let mut trace = Trace::default();
        for (second, entries) in (0..).zip(counts) {
            trace.add(Duration::from_secs(second), *entries);
        }
        let all = trace.since(Duration::ZERO);
        all.iter().map(|fall| (fall.from.as_secs(), fall.until.as_secs(), fall.before, fall.after)).collect()
    }

    #[test]
    fn a_fall_lasts_until_it_stops_falling() {
        assert_eq!(falls(&[10, 12, 14]), []);
        assert_eq!(falls(&[10, 20, 5, 5, 9]), [(1, 2, 20, 5)]);
        assert_eq!(falls(&[90, 60, 30, 31, 2]), [(0, 2, 90, 30), (3, 4, 31, 2)]);
    }

    #[test]
    fn what_came_while_it_fell_was_removed_too() {
        let mut trace = Trace::default();
        for second in 0..60 {
            trace.add(Duration::from_secs(second), 1_000 + 100 * second);
        }
        trace.add(Duration::from_secs(60), 2_000);
        let fall = trace.since(Duration::ZERO)[0];
        assert_eq!((fall.removed(), fall.blur()), (6_900 - 2_000 + 100, 100));
    }

    #[test]
    fn one_second_that_brought_many_says_nothing_of_the_next() {
        let mut trace = Trace::default();
        for (second, entries) in (0..).zip([2, 2, 2, 2, 202, 202, 2]) {
            trace.add(Duration::from_secs(second), entries);
        }
        assert_eq!(trace.since(Duration::ZERO)[0].removed(), 200);
    }

    #[test]
    fn falls_are_bounded_and_forgotten() {
        let mut trace = Trace::default();
        for second in 0..1_000_u64 {
            trace.add(Duration::from_secs(second), second % 2);
        }
        assert_eq!(trace.since(Duration::ZERO).len(), MOST);
        trace.forget(Duration::from_secs(2_000));
        assert_eq!(trace.since(Duration::ZERO), []);
    }
}
