//! The gc comes later than it is expected to.

use monitor_config::Settings;
use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series};
use super::{collection_lagging, series};

/// Only where `expect.gc_interval` is configured: without it the right-hand side is absent.
pub(super) const COLLECTION_SLOW: Definition = Definition {
    alert: Alert {
        name: "CtmonCollectionSlow",
        severities: &[Grade::new(Severity::Warning, 2.0, minutes(5))],
        unit: Unit::Times,
        keep_firing_for: SAW_TOOTH,
        expr: "ctmon_ct_oldest_expired_seconds\n\
               / on($cluster, instance) group_left() max by($cluster, instance)(ctmon_expected_gc_interval_seconds) > $T",
        labels: &["map_name"],
        summary: "the collector comes later than expected to {{ $labels.map_name }} on $NODE",
        description: "An entry of {{ $labels.map_name }} on $NODE has been dead for {{ printf \"%.1f\" $value }} times \
                      the expected interval of Cilium's collector: the interval believed to be in force is not.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: intervals_dead, words: Some(collection_lagging::words) },
    between_passes: true,
    ..Definition::BASE
};

fn intervals_dead(snapshot: &Snapshot, settings: &Settings) -> Vec<Series> {
    let Some(expected) = &settings.expect.gc_interval else { return Vec::new() };
    let expected = expected.value().as_secs_f64();
    series::oldest_expired(snapshot)
        .map(|(map, _, oldest)| series::of_map(&map.map.name, float(oldest) / expected))
        .collect()
}
