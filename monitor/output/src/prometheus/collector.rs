//! Passes of Cilium's collector, as seen by what disappears between scans.

use monitor_model::snapshot::Snapshot;

use super::page::{Metric, Page};

const AGE: Metric = Metric::gauge(
    "ctmon_gc_last_pass_age_seconds",
    "Time since Cilium's collector last went through the map; absent before it was first seen to",
);
const INTERVAL: Metric = Metric::gauge(
    "ctmon_gc_interval_estimate_seconds",
    "Time between the collector's last two passes, or since the last one where something dead proves it longer; absent before the second",
);
const REMOVED: Metric =
    Metric::gauge("ctmon_gc_last_removed_entries", "Entries the collector's last pass removed");
const PASSES: Metric = Metric::counter(
    "ctmon_gc_passes_total",
    "Passes of Cilium's collector seen since the process began; those within one second count as one",
);

pub(super) const METRICS: &[Metric] = &[AGE, INTERVAL, REMOVED, PASSES];

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    for (map, present) in snapshot.present() {
        let name = ("map_name", map.map.name.as_str());
        let Some(gc) = present.gc else { continue };
        page.maybe(AGE, &[name], gc.last_pass_age.map(|age| age.as_secs_f64()));
        page.maybe(INTERVAL, &[name], gc.interval.map(|interval| interval.as_secs_f64()));
        page.maybe(REMOVED, &[name], gc.last_removed.map(|removed| removed as f64));
        page.count(PASSES, &[name], gc.passes);
    }
}
