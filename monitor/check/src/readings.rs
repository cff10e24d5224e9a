//! What every alert that one snapshot can decide reads now.
//!
//! In: snapshot and settings. Out: one [`Reading`] per alert, severity and series, firing or not.
//! Must not: decide what needs memory: rates and quantiles are for `lookback`, predictions Prometheus's.

use monitor_config::{Settings, Threshold};
use monitor_model::snapshot::Snapshot;

use crate::alerts::{Condition, Reading, Series, definition_of};

/// Reads every alert that is on and that this snapshot can decide. Unknown is left out, not inactive.
#[must_use]
pub fn readings(snapshot: &Snapshot, settings: &Settings) -> Vec<Reading> {
    settings.thresholds.iter().flat_map(|threshold| read(threshold, snapshot, settings)).collect()
}

/// One severity of one alert on every series it has.
fn read(threshold: &Threshold, snapshot: &Snapshot, settings: &Settings) -> Vec<Reading> {
    let Threshold { alert, severity, rule } = *threshold;
    let (Some(limit), Some(definition)) = (rule.value, definition_of(alert)) else { return Vec::new() };
    let Condition::Now { series, .. } = definition.condition else { return Vec::new() };
    let reading = |Series { map_name, target, subject: _, value }| {
        let active = alert.side.holds(value, limit);
        Reading { definition, severity, map_name, target, value, threshold: limit, active }
    };
    series(snapshot, settings).into_iter().map(reading).collect()
}
