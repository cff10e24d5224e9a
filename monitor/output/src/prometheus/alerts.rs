//! Thresholds and what is beyond them.
//!
//! An alert whose threshold is not exported is off: rules compare with these series.

use monitor_check::Reading;
use monitor_config::{Settings, Threshold};

use super::page::{Metric, Page};

const THRESHOLD: Metric =
    Metric::gauge("ctmon_threshold", "What the alert compares with, as configured; absent when it is off");
const ACTIVE: Metric = Metric::gauge(
    "ctmon_alert_active",
    "Whether the alert's condition holds in this snapshot; only alerts that one snapshot can decide",
);

pub(super) const METRICS: &[Metric] = &[THRESHOLD, ACTIVE];

pub(super) fn add(page: &mut Page, settings: &Settings, readings: &[Reading]) {
    for Threshold { alert, severity, rule } in settings.thresholds.iter() {
        let labels = [("alert", alert.name), ("severity", severity.name())];
        page.maybe(THRESHOLD, &labels, rule.value);
    }
    for reading in readings {
        let labels = [
            ("alert", reading.alert().name),
            ("severity", reading.severity.name()),
            ("map_name", reading.map_name.as_str()),
            ("target", reading.target.as_str()),
        ];
        page.count(ACTIVE, &labels, u64::from(reading.active));
    }
}
