//! What every alert that one snapshot can decide reads now.
//!
//! In: snapshot and settings. Out: one [`Reading`] per alert, severity and series, firing or not.
//! Must not: judge what needs memory: rates and minima are for `windows`, predictions Prometheus's.

use monitor_abi::class::Due;
use monitor_config::{Bound, Settings};
use monitor_model::catalog::{Alert, DEAD_SHARE, DecidedBy};
use monitor_model::map_name::MapName;
use monitor_model::snapshot::deep::DeepFacts;
use monitor_model::snapshot::{Content, Snapshot, ratio};

use super::storage;
use super::tuning::{self, SysctlVerdict};

/// One alert of one severity on one series.
#[derive(Clone, Debug)]
pub struct Reading {
    pub alert: &'static Alert,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    /// In the alert's unit.
    pub value: f64,
    pub threshold: f64,
    pub active: bool,
}

/// What an alert compares on one series.
struct Series {
    map_name: String,
    target: String,
    value: f64,
    /// Active whatever the threshold says.
    besides: bool,
}

/// Reads every alert that is on and that this snapshot can decide. Unknown is left out, not inactive.
#[must_use]
pub fn readings(snapshot: &Snapshot, settings: &Settings) -> Vec<Reading> {
    let mut all = Vec::new();
    for (alert, rule) in settings.thresholds.iter() {
        let Some(threshold) = rule.value.filter(|_| alert.decided_by == DecidedBy::Snapshot) else {
            continue;
        };
        for Series { map_name, target, value, besides } in series(alert.name, snapshot, settings) {
            let beyond = if falls_below(alert.name) { value < threshold } else { value > threshold };
            all.push(Reading { alert, map_name, target, value, threshold, active: beyond || besides });
        }
    }
    all
}

fn falls_below(name: &str) -> bool {
    name == "CtmonMapSmallerThanExpected"
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn series(name: &str, snapshot: &Snapshot, settings: &Settings) -> Vec<Series> {
    match name {
        "CtmonMapFilling" | "CtmonMapFull" => snapshot
            .present()
            .filter(|(_, present)| !present.is_per_cpu())
            .map(|(map, present)| of_map(&map.map.name, present.fill()))
            .collect(),
        "CtmonEntriesAboveNormal" | "CtmonEntriesHigh" => {
            let conntrack = || snapshot.present().filter(|(map, _)| map.map.is_conntrack());
            let entries: u64 = conntrack().map(|(_, present)| present.scan.entries).sum();
            conntrack().next().map(|_| of_node(entries as f64)).into_iter().collect()
        }
        "CtmonStaleConnections" => per_target(snapshot, |state| Some(state.silent?.lingering())),
        "CtmonHalfClosedPileUp" => per_target(snapshot, |state| Some(state.silent?.lingering_half_closed)),
        "CtmonCollectionLagging" => snapshot
            .present()
            .filter_map(|(map, present)| {
                let oldest = present.scan.oldest_expired?;
                let dead = present.scan.count(|cell| cell.due.expired() == Some(true));
                let besides = ratio(dead, present.capacity.into()) > DEAD_SHARE;
                Some(Series { besides, ..of_map(&map.map.name, oldest as f64) })
            })
            .collect(),
        "CtmonCollectionSlow" => {
            let Some(expected) = &settings.expect.gc_interval else { return Vec::new() };
            let expected = expected.value().as_secs_f64();
            snapshot
                .present()
                .filter_map(|(map, present)| Some((map, present.scan.oldest_expired?)))
                .map(|(map, oldest)| of_map(&map.map.name, oldest as f64 / expected))
                .collect()
        }
        "CtmonNatPortsRunningOut" => deep(snapshot)
            .flat_map(|deep| &deep.nat)
            .map(|nat| of_map(&nat.map_name, nat.port_usage_max))
            .collect(),
        "CtmonTargetUntracked" => deep(snapshot)
            .flat_map(|deep| &deep.targets)
            .filter_map(|found| Some((found, found.untracked?.all())))
            .map(|(found, sockets)| of_target(&found.target, sockets as f64))
            .collect(),
        "CtmonMapSmallerThanExpected" => snapshot
            .present()
            .filter_map(|(map, present)| {
                let expected = expected_capacity(&map.map, settings)?;
                Some(of_map(&map.map.name, ratio(present.capacity.into(), expected)))
            })
            .collect(),
        "CtmonMapUnreadable" => snapshot
            .maps
            .iter()
            .filter(|map| !matches!(map.content, Content::Absent))
            .map(|map| of_map(&map.map.name, f64::from(u8::from(matches!(map.content, Content::Problem(_))))))
            .collect(),
        tuning::ALERT => {
            let host = &snapshot.host;
            let sysctls: Vec<_> =
                tuning::sysctls(host, settings).iter().filter_map(SysctlVerdict::in_force).collect();
            let wrong = sysctls.iter().filter(|in_force| !**in_force).count();
            let mut all: Vec<Series> =
                if sysctls.is_empty() { Vec::new() } else { vec![of_node(wrong as f64)] };
            all.extend(of_targets(snapshot, |target| mismatches(snapshot, settings, target)));
            all
        }
        "CtmonStoragePathStalled" => of_targets(snapshot, |target| storage::stalled(&snapshot.host, target)),
        "CtmonIscsiSessionDown" => {
            of_targets(snapshot, |target| storage::sessions_down(&snapshot.host, target))
        }
        "CtmonFileHandlesHigh" => {
            let handles = snapshot.host.file_handles;
            handles.map(|handles| of_node(ratio(handles.used, handles.max))).into_iter().collect()
        }
        "CtmonSourceDown" => {
            let down = snapshot.sources.iter().filter(|source| source.error.is_some()).count();
            vec![of_node(down as f64)]
        }
        _ => Vec::new(),
    }
}

/// The capacity that a map is expected to have, if any.
#[must_use]
pub fn expected_capacity(map: &MapName, settings: &Settings) -> Option<u64> {
    match settings.expect.map_capacity.get(&map.table)? {
        Bound::AtLeast(value) | Bound::Equals(value) => Some(*value),
        // Nobody is hurt by a map that is smaller than allowed.
        Bound::AtMost(_) => None,
    }
}

/// Mounts of a target that lack expected options; `None` while mounts are unknown or nothing is expected.
#[must_use]
pub fn mismatches(snapshot: &Snapshot, settings: &Settings, target: &str) -> Option<u64> {
    if settings.expect.mount_options.is_empty() || snapshot.host.mounts.is_none() {
        return None;
    }
    let lacking = tuning::mounts(&snapshot.host, settings)
        .into_iter()
        .filter(|verdict| verdict.mount.target.as_deref() == Some(target) && !verdict.missing.is_empty());
    Some(lacking.count() as u64)
}

/// One series for each target of which something is known.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn of_targets(snapshot: &Snapshot, value: impl Fn(&str) -> Option<u64>) -> Vec<Series> {
    let series = |target: &str| Some(Series { target: target.to_owned(), ..of_node(value(target)? as f64) });
    snapshot.target_names().filter_map(series).collect()
}

/// Sums the services of each target; a target with nothing known is left out.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn per_target(
    snapshot: &Snapshot,
    value: impl Fn(&monitor_model::snapshot::TargetState) -> Option<u64>,
) -> Vec<Series> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for state in &snapshot.targets {
        let Some(value) = value(state) else { continue };
        match sums.iter_mut().find(|(target, _)| *target == state.target) {
            Some((_, sum)) => *sum += value,
            None => sums.push((state.target.clone(), value)),
        }
    }
    sums.into_iter().map(|(target, sum)| of_target(&target, sum as f64)).collect()
}

/// The deep scan's part, once there was one.
fn deep(snapshot: &Snapshot) -> impl Iterator<Item = &DeepFacts> {
    snapshot.deep.iter()
}

fn of_target(target: &str, value: f64) -> Series {
    Series { map_name: String::new(), target: target.to_owned(), value, besides: false }
}

fn of_map(map_name: &str, value: f64) -> Series {
    Series { map_name: map_name.to_owned(), target: String::new(), value, besides: false }
}

fn of_node(value: f64) -> Series {
    Series { map_name: String::new(), target: String::new(), value, besides: false }
}

/// Due classes that are past: shared with the findings' words.
pub(super) const OVERDUE: [Due; 4] = [Due::Overdue12h, Due::Overdue1h, Due::Overdue10m, Due::Overdue];
