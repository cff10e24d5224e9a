//! ctmon itself: sources, scans, age, build, process.

use std::time::UNIX_EPOCH;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::Extra;
use super::page::{Metric, Page};
use crate::snapshot::Snapshot;

const SOURCE_UP: Metric = Metric::gauge("ctmon_source_up", "Whether the source could be read (1) or not (0)");
const SOURCE_DURATION: Metric = Metric::gauge("ctmon_source_duration_seconds", "How long reading the source took");
const TIMESTAMP: Metric =
    Metric::gauge("ctmon_snapshot_timestamp_seconds", "When the snapshot was taken, in seconds since the epoch");
const AGE: Metric = Metric::gauge(
    "ctmon_snapshot_age_seconds",
    "Age of the snapshot when this page was rendered, on the monotonic clock",
);
const DURATION: Metric = Metric::gauge("ctmon_snapshot_duration_seconds", "How long taking the snapshot took");
const INTERVAL: Metric = Metric::gauge(
    "ctmon_scan_interval_seconds",
    "Time between two collections, stretched so that walking takes at most 0.5 % of one core",
);
const SCANS: Metric = Metric::counter("ctmon_scans_total", "Collections since the process began");
const ERRORS: Metric = Metric::counter("ctmon_scan_errors_total", "Walks of one map that failed");
const BUILD: Metric = Metric::gauge("ctmon_build_info", "Version and revision of ctmon; always 1");

pub(super) const METRICS: &[Metric] =
    &[SOURCE_UP, SOURCE_DURATION, TIMESTAMP, AGE, DURATION, INTERVAL, SCANS, ERRORS, BUILD];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot, extra: &Extra<'_>) {
    for source in &snapshot.sources {
        page.count(SOURCE_UP, &[("source", source.name)], u64::from(source.error.is_none()));
        page.sample(SOURCE_DURATION, &[("source", source.name)], source.duration.as_secs_f64());
    }
    let since_epoch = snapshot.wall.duration_since(UNIX_EPOCH).ok();
    page.maybe(TIMESTAMP, &[], since_epoch.map(|duration| duration.as_secs_f64()));
    page.sample(AGE, &[], extra.age_seconds);
    page.sample(DURATION, &[], snapshot.duration.as_secs_f64());
    page.sample(INTERVAL, &[], snapshot.interval.as_secs_f64());
    page.count(SCANS, &[], snapshot.totals.scans);
    page.count(ERRORS, &[], snapshot.totals.scan_errors);
    page.count(BUILD, &[("version", extra.version), ("revision", extra.revision)], 1);
    page.extend(ProcessCollector::for_self().collect());
}
