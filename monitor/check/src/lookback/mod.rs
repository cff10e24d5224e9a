//! The lookback windows of alerts: what one snapshot cannot show.
//!
//! In: snapshots, one after the other. Out: for each such alert and series, what its window holds.
//! Must not: grow: each series has a few dozen pieces however long the window, and goes when the snapshot lacks it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use monitor_config::{Settings, Threshold};
use monitor_model::alert::Severity;
use monitor_model::snapshot::Snapshot;

use crate::alerts::{Condition, Series, definition_of};

pub(crate) mod reading;

pub use crate::lookback::reading::{LookbackReading, Over};

/// A window is kept in this many pieces: its edge is that much too coarse at the most.
const PIECES: u32 = 60;

/// One alert of one severity on one series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    alert: &'static str,
    severity: Severity,
    map_name: String,
    target: String,
    /// A service of the target, or a log pattern.
    subject: String,
}

/// The windows of every alert that looks back.
#[derive(Debug, Default)]
pub struct Lookback {
    windows: BTreeMap<Key, Window>,
}

#[derive(Debug)]
struct Window {
    began: Duration,
    last: f64,
    pieces: VecDeque<Piece>,
}

/// A short stretch of time.
#[derive(Clone, Copy, Debug)]
struct Piece {
    began: Duration,
    gained: f64,
    /// The last there was.
    value: f64,
}

impl Lookback {
    /// Takes the next snapshot.
    pub fn observe(&mut self, snapshot: &Snapshot, settings: &Settings) {
        let now = snapshot.monotonic;
        let mut old = std::mem::take(&mut self.windows);
        for threshold in settings.thresholds.iter() {
            let Some((_, select, length)) = looks_back(threshold) else { continue };
            for series in select(snapshot) {
                let (value, key) = (series.value, Key::of(threshold, series));
                let mut window = old.remove(&key).unwrap_or_else(|| Window::begun(now, value));
                window.add(now, value, length);
                self.windows.insert(key, window);
            }
        }
    }

    /// What every window holds at the last snapshot's time; windows too young to say anything are left out.
    #[must_use]
    pub fn read(&self, now: Duration, settings: &Settings) -> Vec<LookbackReading> {
        settings.thresholds.iter().flat_map(|threshold| self.read_one(threshold, now)).collect()
    }

    fn read_one(&self, threshold: &Threshold, now: Duration) -> Vec<LookbackReading> {
        let Threshold { alert, severity, .. } = *threshold;
        let Some((over, _, length)) = looks_back(threshold) else { return Vec::new() };
        let mine = self.windows.iter().filter(|(key, _)| (key.alert, key.severity) == (alert.name, severity));
        let readings = mine.filter_map(|(key, window)| {
            let value = window.value(over, now, length)?;
            let Key { alert: _, severity: _, map_name, target, subject } = key.clone();
            Some(LookbackReading { alert, severity, map_name, target, subject, window: length, value })
        });
        readings.collect()
    }
}

impl Key {
    fn of(threshold: &Threshold, series: Series) -> Self {
        let Series { map_name, target, subject, value: _ } = series;
        Self { alert: threshold.alert.name, severity: threshold.severity, map_name, target, subject }
    }
}

/// The series of an alert in one snapshot.
type Select = fn(&Snapshot) -> Vec<Series>;

/// How an alert of one severity looks back, at what, and how far; `None` for those that do not, and for predictions.
fn looks_back(threshold: &Threshold) -> Option<(Over, Select, Duration)> {
    let Condition::Lookback { over, series, .. } = definition_of(threshold.alert)?.condition else {
        return None;
    };
    Some((over, series, threshold.rule.window?))
}

impl Window {
    fn begun(now: Duration, value: f64) -> Self {
        Self { began: now, last: value, pieces: VecDeque::new() }
    }

    fn add(&mut self, now: Duration, value: f64, window: Duration) {
        // A counter that fell began anew.
        let gained = if value < self.last { value } else { value - self.last };
        self.last = value;
        let fits = |piece: &Piece| now.saturating_sub(piece.began) < window / PIECES;
        match self.pieces.back_mut().filter(|piece| fits(piece)) {
            Some(piece) => {
                piece.gained += gained;
                piece.value = value;
            }
            None => self.pieces.push_back(Piece { began: now, gained, value }),
        }
        while self.pieces.front().is_some_and(|piece| now.saturating_sub(piece.began) > window) {
            self.pieces.pop_front();
        }
    }

    fn value(&self, over: Over, now: Duration, window: Duration) -> Option<f64> {
        let age = now.saturating_sub(self.began);
        let gained = || self.pieces.iter().map(|piece| piece.gained).sum::<f64>();
        match over {
            Over::Increase => Some(gained()),
            Over::PerSecond => Some(gained() / age.min(window).as_secs_f64()).filter(|rate| rate.is_finite()),
            Over::LowerQuartile if age < window => None,
            Over::LowerQuartile => lower_quartile(self.pieces.iter().map(|piece| piece.value).collect()),
        }
    }
}

/// The quartile as Prometheus has it: between the two values next to its rank.
fn lower_quartile(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let steps = values.len().checked_sub(1)?;
    let (below, quarters) = (steps / 4, steps % 4);
    let (low, high) = (*values.get(below)?, *values.get((below + 1).min(steps))?);
    let share = [0.0, 0.25, 0.5, 0.75].get(quarters)?;
    Some(low + (high - low) * share)
}

#[cfg(test)]
mod tests;
