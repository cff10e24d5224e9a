//! Reads Cilium's conntrack timeouts from the entries: right after a packet an entry has its whole timeout left.
//!
//! In: the most seconds left by class, scan by scan. Out: the timeouts in force, once known.
//! Must not: assume a default: 1.14 and 1.18 differ, and so do tuned nodes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::agent_config::CtTimeouts;
use crate::snapshot::{TimeoutClass, TimeoutFact, TimeoutSource};

/// Observations remembered: a quiet class needs some time until a packet shows its timeout again.
const REMEMBERED: usize = 24;
/// An entry's last packet is at most this old when a class is called known, in seconds.
const FRESH: u64 = 60;
/// Values people configure that are no whole number of ten minutes.
const CUSTOMARY: [u64; 4] = [10, 30, 60, 8_000];

/// The most that was left, by class and observation.
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    seen: BTreeMap<TimeoutClass, VecDeque<u64>>,
}

impl Timeouts {
    /// Adds what one scan saw: seconds left, 0 if the class had no live entry.
    pub fn observe(&mut self, seen: impl IntoIterator<Item = (TimeoutClass, u64)>) {
        for (class, left) in seen {
            let past = self.seen.entry(class).or_default();
            if past.len() == REMEMBERED {
                past.pop_front();
            }
            past.push_back(left);
        }
    }

    /// What is known now.
    #[must_use]
    pub fn facts(&self) -> Vec<TimeoutFact> {
        self.seen
            .iter()
            .filter_map(|(class, past)| {
                let most = past.iter().copied().max().filter(|most| *most > 0)?;
                let value = Duration::from_secs(settle(most));
                Some(TimeoutFact { class: *class, source: TimeoutSource::Entries, value })
            })
            .collect()
    }
}

/// What Cilium's configuration says, in the same words; keys that are not set say nothing.
pub fn configured(timeouts: &CtTimeouts) -> impl Iterator<Item = TimeoutFact> + use<> {
    let CtTimeouts {
        regular_tcp,
        regular_any,
        regular_tcp_syn,
        regular_tcp_fin,
        service_tcp,
        service_any,
        // No entry's lifetime: when a closing SERVICE entry may get another backend.
        service_tcp_grace: _,
    } = *timeouts;
    [
        (TimeoutClass::Tcp, regular_tcp),
        (TimeoutClass::Any, regular_any),
        (TimeoutClass::Syn, regular_tcp_syn),
        (TimeoutClass::Fin, regular_tcp_fin),
        (TimeoutClass::ServiceTcp, service_tcp),
        (TimeoutClass::ServiceAny, service_any),
    ]
    .into_iter()
    .filter_map(|(class, value)| {
        Some(TimeoutFact { class, source: TimeoutSource::CiliumConfig, value: value? })
    })
}

/// The configured value behind the most that was seen: a round one just above, or what was seen.
fn settle(seen: u64) -> u64 {
    let ten_minutes = seen.div_ceil(600) * 600;
    let near = |value: &u64| *value >= seen && value - seen <= FRESH.min(value / 10 + 1);
    CUSTOMARY.into_iter().chain([ten_minutes]).filter(near).min().unwrap_or(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(seen: &[u64]) -> Option<u64> {
        let mut timeouts = Timeouts::default();
        for left in seen {
            timeouts.observe([(TimeoutClass::Tcp, *left)]);
        }
        timeouts.facts().first().map(|fact| fact.value.as_secs())
    }

    #[test]
    fn the_longest_lifetime_left_settles_on_the_value_configured() {
        assert_eq!(known(&[21_594]), Some(21_600));
        assert_eq!(known(&[7_993, 7_400]), Some(8_000));
        assert_eq!(known(&[14_399]), Some(14_400));
        assert_eq!(known(&[58]), Some(60));
        assert_eq!(known(&[9]), Some(10));
        assert_eq!(known(&[21_600]), Some(21_600));
    }

    #[test]
    fn what_cilium_was_told_is_said_in_the_same_words() {
        let timeouts = CtTimeouts { regular_tcp: Some(Duration::from_secs(21_600)), ..CtTimeouts::default() };
        let facts: Vec<_> = configured(&timeouts).collect();
        let value = Duration::from_secs(21_600);
        assert_eq!(
            facts,
            [TimeoutFact { class: TimeoutClass::Tcp, source: TimeoutSource::CiliumConfig, value }]
        );
    }

    #[test]
    fn a_value_near_nothing_customary_is_kept_and_none_is_unknown() {
        assert_eq!(known(&[7_100]), Some(7_100));
        assert_eq!(known(&[0, 0]), None);
        assert_eq!(known(&[]), None);
    }

    #[test]
    fn a_shorter_timeout_shows_once_the_past_is_forgotten() {
        let mut seen = vec![21_600];
        seen.extend([8_000; REMEMBERED]);
        assert_eq!(known(&seen), Some(8_000));
    }
}
