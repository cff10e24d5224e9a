//! What only time tells: the daemon's memory for alerts that look back.
//!
//! In: snapshots, one after the other. Out: for each such alert and series, what its window holds.
//! Must not: grow: each series has a few dozen pieces however long the window, and goes when the snapshot lacks it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use monitor_abi::class::{Expiry, VictimState};
use monitor_config::Settings;
use monitor_model::catalog::{Alert, Severity};
use monitor_model::drops::DropReason;
use monitor_model::snapshot::{EvictionCell, Snapshot};

use super::history::Looked;

/// A window is kept in this many pieces: its edge is that much too coarse at the most.
const PIECES: u32 = 60;

/// What an alert takes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// How much a counter rose.
    Increase,
    /// The same for each second.
    PerSecond,
    /// What three quarters of a whole window were not below, as `quantile_over_time(0.25, ...)` tells it.
    LowerQuartile,
}

/// One alert of one severity on one series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    alert: &'static str,
    severity: Severity,
    map_name: String,
    target: String,
    /// What else tells series apart: a service of the target, a log pattern.
    subject: String,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Windows {
    series: BTreeMap<Key, Series>,
}

#[derive(Debug)]
struct Series {
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

impl Windows {
    /// Takes the next snapshot.
    pub fn observe(&mut self, snapshot: &Snapshot, settings: &Settings) {
        let now = snapshot.monotonic;
        let mut old = std::mem::take(&mut self.series);
        for (alert, rule) in settings.thresholds.iter() {
            let (Some(_), Some(window)) = (over(alert.name), rule.window) else { continue };
            for (key, value) in observed(alert, snapshot) {
                let mut series = old.remove(&key).unwrap_or_else(|| Series::begun(now, value));
                series.add(now, value, window);
                self.series.insert(key, series);
            }
        }
    }

    /// What every window holds at the last snapshot's time; windows too young to tell are left out.
    #[must_use]
    pub fn look(&self, now: Duration, settings: &Settings) -> Vec<Looked> {
        let mut all = Vec::new();
        for (alert, rule) in settings.thresholds.iter() {
            let (Some(over), Some(window)) = (over(alert.name), rule.window) else { continue };
            for (key, series) in &self.series {
                if (key.alert, key.severity) != (alert.name, alert.severity) {
                    continue;
                }
                let Some(value) = series.value(over, now, window) else { continue };
                let Key { alert: _, severity: _, map_name, target, subject } = key.clone();
                all.push(Looked { alert, map_name, target, subject, window, value });
            }
        }
        all
    }
}

impl Series {
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

/// How an alert looks back; `None` for those that do not, and for predictions.
fn over(alert: &str) -> Option<Over> {
    match alert {
        "CtmonLiveEvictions" | "CtmonInsertFailures" | "CtmonCifsReconnecting" | "CtmonLogPattern" => {
            Some(Over::Increase)
        }
        "CtmonNatMappingFailures" => Some(Over::PerSecond),
        "CtmonTargetUnanswered" => Some(Over::LowerQuartile),
        _ => None,
    }
}

/// The series of an alert in this snapshot: what its expression selects.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn observed(alert: &Alert, snapshot: &Snapshot) -> Vec<(Key, f64)> {
    let key = |map_name: &str, target: &str, subject: &str| Key {
        alert: alert.name,
        severity: alert.severity,
        map_name: map_name.to_owned(),
        target: target.to_owned(),
        subject: subject.to_owned(),
    };
    match (alert.name, alert.severity) {
        ("CtmonLiveEvictions", Severity::Critical) => {
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for found in &snapshot.evictions.targets {
                *sums.entry(&found.target).or_default() += evicted(&found.cells, |state| {
                    matches!(state, VictimState::Established | VictimState::Opening)
                });
            }
            sums.into_iter().map(|(target, sum)| (key("", target, ""), sum as f64)).collect()
        }
        ("CtmonLiveEvictions", _) => {
            let lasting = |state| !matches!(state, VictimState::Closed | VictimState::Unknown);
            let maps = snapshot.evictions.maps.iter();
            maps.filter(|found| matches!(found.map_name.as_str(), "ct4_global" | "ct6_global"))
                .map(|found| (key(&found.map_name, "", ""), evicted(&found.cells, lasting) as f64))
                .collect()
        }
        ("CtmonInsertFailures", _) => dropped(snapshot, 155).map(|sum| (key("", "", ""), sum)).collect(),
        ("CtmonNatMappingFailures", _) => dropped(snapshot, 167).map(|sum| (key("", "", ""), sum)).collect(),
        ("CtmonCifsReconnecting", _) => {
            let targets = snapshot.host.cifs.iter().flat_map(|cifs| &cifs.targets);
            targets.filter_map(|found| Some((key("", &found.target, ""), found.reconnects? as f64))).collect()
        }
        ("CtmonLogPattern", _) => {
            let matches = snapshot.host.logs.iter().flat_map(|logs| &logs.matches);
            matches.map(|(pattern, matched)| (key("", "", pattern), *matched as f64)).collect()
        }
        ("CtmonTargetUnanswered", _) => snapshot
            .targets
            .iter()
            // Until the clock is known nothing says how long an entry has been silent.
            .filter_map(|state| Some((state, state.silent?.unanswered)))
            .map(|(state, unanswered)| (key("", &state.target, &state.service), unanswered as f64))
            .collect(),
        _ => Vec::new(),
    }
}

/// Victims that were not past their lifetime, in the states asked for.
fn evicted(cells: &[EvictionCell], wanted: impl Fn(VictimState) -> bool) -> u64 {
    let wanted = cells.iter().filter(|cell| cell.expiry != Expiry::True && wanted(cell.state));
    wanted.map(|cell| cell.evicted).sum()
}

/// Packets dropped for a reason, all directions together.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn dropped(snapshot: &Snapshot, code: u8) -> impl Iterator<Item = f64> {
    let packets = snapshot.drops.iter().filter_map(|drops| drops.packets);
    packets.filter_map(move |packets| {
        let at = DropReason::position(code)?;
        Some(packets.get(at)?.iter().sum::<u64>() as f64)
    })
}

#[cfg(test)]
mod tests;
