//! Thresholds crossed since the last snapshot, and sources that went down or came back: each is worth one line in the log, once
//! each way.
//!
//! In: the readings and the sources of every snapshot in turn. Out: what became active and what ended, and how long the rest has
//! been active; the sources whose reason is another one.
//! Must not: log: saying it is for the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor_model::alert::{Alert, Severity};
use monitor_model::snapshot::SourceState;

use crate::alerts::definition::Reading;
use crate::history::Active;

/// What was active at the last snapshot.
#[derive(Debug, Default)]
pub struct Transitions {
    /// Since when, by alert, severity, map and target.
    active: BTreeMap<(&'static str, Severity, String, String), Since>,
    /// The first snapshot.
    began: Option<Duration>,
}

#[derive(Debug)]
struct Since {
    alert: &'static Alert,
    at: Duration,
}

/// One transition.
#[derive(Clone, Debug)]
pub struct Transition {
    pub reading: Reading,
    /// `true`: it became active.
    pub began: bool,
}

/// Which sources were down at the last snapshot, and why.
#[derive(Debug, Default)]
pub struct SourceTransitions {
    down: BTreeMap<&'static str, String>,
}

/// A source that fares otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTransition<'s> {
    pub name: &'static str,
    /// `None`: it is back.
    pub reason: Option<&'s str>,
}

impl SourceTransitions {
    /// Takes the next snapshot's sources. One that is not listed any more is off, which is no news.
    pub fn next<'s>(&mut self, sources: &'s [SourceState]) -> Vec<SourceTransition<'s>> {
        self.down.retain(|name, _| sources.iter().any(|source| source.name == *name));
        sources.iter().filter_map(|source| self.news(source)).collect()
    }

    fn news<'s>(&mut self, source: &'s SourceState) -> Option<SourceTransition<'s>> {
        let (name, reason) = (source.name, source.error.as_deref());
        let before = match reason {
            Some(reason) => self.down.insert(name, reason.to_owned()),
            None => self.down.remove(name),
        };
        (before.as_deref() != reason).then_some(SourceTransition { name, reason })
    }
}

impl Transitions {
    /// Takes the next snapshot's readings. A series that is not there any more has not ended: it is unknown.
    pub fn next(&mut self, readings: &[Reading], now: Duration) -> Vec<Transition> {
        self.began.get_or_insert(now);
        let mut transitions = Vec::new();
        for reading in readings {
            let key =
                (reading.alert().name, reading.severity, reading.map_name.clone(), reading.target.clone());
            let known = self.active.contains_key(&key);
            if reading.active {
                self.active.entry(key).or_insert(Since { alert: reading.alert(), at: now });
            } else {
                self.active.remove(&key);
            }
            if known != reading.active {
                transitions.push(Transition { reading: reading.clone(), began: reading.active });
            }
        }
        transitions
    }

    /// How long each has been active.
    #[must_use]
    pub fn active(&self, now: Duration) -> Vec<Active> {
        let began = self.began.unwrap_or(now);
        let active = self.active.iter().map(|((_, severity, map_name, target), since)| Active {
            alert: since.alert,
            severity: *severity,
            map_name: map_name.clone(),
            target: target.clone(),
            held: now.saturating_sub(since.at),
            from_the_start: since.at <= began,
        });
        active.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::DEFINITIONS;

    #[test]
    fn a_threshold_is_told_once_each_way() {
        let reading = |active| Reading {
            definition: &DEFINITIONS[0],
            severity: Severity::Warning,
            map_name: "ct4_global".to_owned(),
            target: String::new(),
            value: 0.8,
            threshold: 0.75,
            active,
        };
        let mut transitions = Transitions::default();
        let at = Duration::from_secs;
        let mut told = |active, second| {
            transitions.next(&[reading(active)], at(second)).iter().map(|c| c.began).collect::<Vec<_>>()
        };
        assert!(told(false, 1).is_empty());
        assert_eq!(told(true, 2), [true]);
        assert!(told(true, 3).is_empty());
        assert_eq!(told(false, 4), [false]);
        assert!(told(false, 5).is_empty());
        assert_eq!(transitions.next(&[], at(6)).len(), 0);
    }

    #[test]
    fn a_source_is_told_when_it_goes_down_when_its_reason_changes_and_when_it_is_back() {
        let source = |name, error: Option<&str>| SourceState {
            name,
            duration: Duration::ZERO,
            error: error.map(str::to_owned),
        };
        let mut transitions = SourceTransitions::default();
        let mut check = |sources: &[SourceState], expected: &[(&str, Option<&str>)]| {
            let told: Vec<_> =
                transitions.next(sources).iter().map(|news| (news.name, news.reason)).collect();
            assert_eq!(told, expected);
        };
        check(&[source("conntrack", None), source("nat", None)], &[]);
        let down = [source("conntrack", Some("no pins")), source("nat", None)];
        check(&down, &[("conntrack", Some("no pins"))]);
        check(&down, &[]);
        check(&[source("conntrack", Some("refused"))], &[("conntrack", Some("refused"))]);
        check(&[source("conntrack", None)], &[("conntrack", None)]);
        check(&[source("conntrack", None)], &[]);
        check(&down, &[("conntrack", Some("no pins"))]);
        check(&[], &[]);
        check(&[source("conntrack", None)], &[]);
    }

    #[test]
    fn how_long_it_has_been_active_is_known_unless_it_was_from_the_start() {
        let reading = |name: &str, active| Reading {
            definition: &DEFINITIONS[0],
            severity: Severity::Warning,
            map_name: name.to_owned(),
            target: String::new(),
            value: 0.8,
            threshold: 0.75,
            active,
        };
        let mut transitions = Transitions::default();
        for (second, later) in [(10, false), (25, true), (40, true)] {
            transitions.next(&[reading("a", true), reading("b", later)], Duration::from_secs(second));
        }
        let active = transitions.active(Duration::from_secs(40));
        let told: Vec<_> = active.iter().map(|one| (one.held.as_secs(), one.from_the_start)).collect();
        assert_eq!(told, [(30, true), (15, false)]);
    }
}
