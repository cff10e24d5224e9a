//! Thresholds and what is beyond them.
//!
//! An alert whose threshold is not exported is off: rules compare with these series.

use monitor_config::Threshold;

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

pub(super) const GROUP: Group = Group {
    title: "Thresholds and alerts",
    about: "What alerts compare with. The rules hold no number: a changed configuration is in force with the next \
            scrape, and an alert without a threshold is off. Labels of `ctmon_alert_active` are empty where they do not apply.",
    metrics: &[
        Metric {
            name: "ctmon_threshold",
            help: "What the alert compares with, as configured; absent when it is off",
            kind: Kind::Gauge,
            unit: Unit::Of("the alert's own"),
            labels: &["alert", "severity"],
            absent: Some("for an alert that is off"),
            collect: thresholds,
        },
        Metric {
            name: "ctmon_alert_active",
            help: "Whether the alert's condition holds in this snapshot; only alerts that one snapshot can decide",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &["alert", "severity", "map_name", "target"],
            absent: Some(
                "for an alert that is off, that needs more than one snapshot, or that has nothing to compare",
            ),
            collect: active,
        },
    ],
};

fn thresholds(input: &Input<'_>, samples: &mut Samples) {
    for Threshold { alert, severity, rule } in input.settings.thresholds.iter() {
        samples.known(&[alert.name, severity.name()], rule.value);
    }
}

fn active(input: &Input<'_>, samples: &mut Samples) {
    for reading in input.readings {
        let labels = [reading.alert().name, reading.severity.name(), &reading.map_name, &reading.target];
        samples.yes_no(&labels, reading.active);
    }
}
