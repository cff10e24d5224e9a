//! ctmon itself, as any collection can tell: sources, scans, build.

use std::time::{SystemTime, UNIX_EPOCH};

use super::metric::{Group, Kind, Metric, Unit};

pub(super) const GROUP: Group = Group {
    title: "ctmon itself",
    about: "Whether the numbers above can be believed, and what they cost. A source that is off, because the node has \
            nothing it could read, is not listed.",
    metrics: &[
        Metric {
            name: "ctmon_source_up",
            help: "Whether the source could be read (1) or not (0)",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &["source"],
            absent: Some("for a source that is off"),
            collect: |input, samples| {
                for source in &input.snapshot.sources {
                    samples.yes_no(&[source.name], source.error.is_none());
                }
            },
        },
        Metric {
            name: "ctmon_source_duration_seconds",
            help: "How long reading the source took",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &["source"],
            absent: Some("for a source that is off"),
            collect: |input, samples| {
                for source in &input.snapshot.sources {
                    samples.add(&[source.name], source.duration.as_secs_f64());
                }
            },
        },
        Metric {
            name: "ctmon_snapshot_timestamp_seconds",
            help: "When the snapshot was taken, in seconds since the epoch",
            kind: Kind::Gauge,
            unit: Unit::Timestamp,
            labels: &[],
            absent: None,
            collect: |input, samples| samples.known(&[], since_epoch(input.snapshot.wall)),
        },
        Metric {
            name: "ctmon_snapshot_duration_seconds",
            help: "How long taking the snapshot took",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &[],
            absent: None,
            collect: |input, samples| samples.add(&[], input.snapshot.duration.as_secs_f64()),
        },
        Metric {
            name: "ctmon_scan_interval_seconds",
            help: "Time between two collections, stretched so that walking takes at most 0.5 % of one core",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &[],
            absent: None,
            collect: |input, samples| samples.add(&[], input.snapshot.interval.as_secs_f64()),
        },
        Metric {
            name: "ctmon_scans_total",
            help: "Collections since the process began",
            kind: Kind::Counter,
            unit: Unit::Of("collections"),
            labels: &[],
            absent: None,
            collect: |input, samples| samples.count(&[], input.snapshot.totals.scans),
        },
        Metric {
            name: "ctmon_scan_errors_total",
            help: "Walks of one map that failed",
            kind: Kind::Counter,
            unit: Unit::Of("walks"),
            labels: &[],
            absent: None,
            collect: |input, samples| samples.count(&[], input.snapshot.totals.scan_errors),
        },
        Metric {
            name: "ctmon_expected_gc_interval_seconds",
            help: "Time between two passes of Cilium's collector that is expected, as configured",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &[],
            absent: Some("unless `expect.gc_interval` is configured"),
            collect: |input, samples| {
                let expected = input.settings.expect.gc_interval.as_ref();
                samples.known(&[], expected.map(|bound| bound.value().as_secs_f64()));
            },
        },
        Metric {
            name: "ctmon_build_info",
            help: "Version and revision of ctmon; always 1",
            kind: Kind::Gauge,
            unit: Unit::Info,
            labels: &["version", "revision"],
            absent: None,
            collect: |_, samples| {
                samples.count(&[env!("CARGO_PKG_VERSION"), env!("CTMON_REVISION")], 1);
            },
        },
    ],
};

/// `None` before the epoch: the node's clock was never set.
pub(super) fn since_epoch(time: SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|duration| duration.as_secs_f64())
}
