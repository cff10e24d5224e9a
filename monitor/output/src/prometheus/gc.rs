//! Passes of Cilium's gc, as seen by what disappears between scans.

use std::time::Duration;

use monitor_model::float::float;
use monitor_model::snapshot::GcFacts;

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

pub(super) const GROUP: Group = Group {
    title: "Cilium's gc",
    about: "When Cilium's gc (the collector of dead entries) went through a map, seen by what disappeared. Its \
            interval is Cilium's to choose and drifts unless it is fixed. None of these exists for NAT maps.",
    metrics: &[
        Metric {
            name: "ctmon_gc_last_pass_age_seconds",
            help: "Time since Cilium's collector last went through the map; absent before it was first seen to",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["map_name"],
            absent: Some("before the first pass was seen"),
            collect: |input, samples| {
                of_conntrack(input, samples, |gc| gc.last_pass_age.as_ref().map(Duration::as_secs_f64));
            },
        },
        Metric {
            name: "ctmon_gc_interval_estimate_seconds",
            help: "Time between the collector's last two passes, or since the last one where something dead proves it longer; absent before the second",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["map_name"],
            absent: Some(
                "before the second pass was seen, and while a pass between the two may have been missed",
            ),
            collect: |input, samples| {
                of_conntrack(input, samples, |gc| gc.interval.as_ref().map(Duration::as_secs_f64));
            },
        },
        Metric {
            name: "ctmon_gc_last_removed_entries",
            help: "Entries the collector's last pass removed",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: Some("before the first pass was seen"),
            collect: |input, samples| of_conntrack(input, samples, |gc| gc.last_removed.map(float)),
        },
        Metric {
            name: "ctmon_gc_passes_total",
            help: "Passes of Cilium's collector seen since the process began; those within one second count as one",
            kind: Kind::Counter,
            unit: Unit::Of("passes"),
            labels: &["map_name"],
            absent: Some("while the clock of lifetimes is unknown, or the map cannot be read"),
            collect: |input, samples| of_conntrack(input, samples, |gc| Some(float(gc.passes))),
        },
    ],
};

/// A sample for each map whose passes are followed, where there is a value.
fn of_conntrack(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&GcFacts) -> Option<f64>) {
    for (map, present) in input.snapshot.present() {
        samples.known(&[&map.map.name], present.gc.as_ref().and_then(&value));
    }
}
