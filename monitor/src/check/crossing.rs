//! Thresholds crossed since the last snapshot: each is worth one line in the log, once each way.
//!
//! In: the readings of every snapshot in turn. Out: what became active and what ended.
//! Must not: log: saying it is for the caller.

use std::collections::BTreeSet;

use super::alerts::Reading;
use super::catalog::Severity;

/// What was active at the last snapshot.
#[derive(Debug, Default)]
pub struct Crossings {
    active: BTreeSet<(&'static str, Severity, String, String)>,
}

/// One crossing.
#[derive(Clone, Debug)]
pub struct Crossing {
    pub reading: Reading,
    /// `true`: it became active.
    pub began: bool,
}

impl Crossings {
    /// Takes the next snapshot's readings. A series that is not there any more has not ended: it is unknown.
    pub fn next(&mut self, readings: &[Reading]) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        for reading in readings {
            let key = (
                reading.alert.name,
                reading.alert.severity,
                reading.map_name.clone(),
                reading.target.clone(),
            );
            let changed = if reading.active { self.active.insert(key) } else { self.active.remove(&key) };
            if changed {
                crossings.push(Crossing { reading: reading.clone(), began: reading.active });
            }
        }
        crossings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::catalog::ALERTS;

    #[test]
    fn a_threshold_is_told_once_each_way() {
        let alert = ALERTS.first().unwrap();
        let reading = |active| Reading {
            alert,
            map_name: "ct4_global".to_owned(),
            target: String::new(),
            value: 0.8,
            threshold: 0.75,
            active,
        };
        let mut crossings = Crossings::default();
        let mut told =
            |active| crossings.next(&[reading(active)]).iter().map(|c| c.began).collect::<Vec<_>>();
        assert!(told(false).is_empty());
        assert_eq!(told(true), [true]);
        assert!(told(true).is_empty());
        assert_eq!(told(false), [false]);
        assert!(told(false).is_empty());
        assert_eq!(crossings.next(&[]).len(), 0);
    }
}
