//! Dead entries stay in a map for longer than Cilium's own gc ever waits.

use std::time::Duration;

use monitor_abi::class::Due;
use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};
use monitor_model::duration;
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;
use crate::gc;

/// The longest interval Cilium's gc drifts to is 12 h: a healthy quiet node gets there, 13 h is late.
pub(super) const COLLECTION_LAGGING: Definition = Definition {
    alert: Alert {
        name: "CtmonCollectionLagging",
        severities: &[Grade::new(Severity::Warning, 46_800.0, minutes(15))],
        unit: Unit::Seconds,
        keep_firing_for: SAW_TOOTH,
        expr: "ctmon_ct_oldest_expired_seconds > $T",
        labels: &["map_name"],
        summary: "dead entries are not collected from {{ $labels.map_name }} on $NODE",
        description: "An entry of {{ $labels.map_name }} on $NODE has been dead for {{ $value | humanizeDuration }}, \
                      longer than Cilium's collector ever waits. How the collector's interval is set there decides \
                      what helps: `ctmon check` on the node tells.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| dead_for(snapshot), words: Some(words) },
    between_passes: true,
    ..Definition::BASE
};

fn dead_for(snapshot: &Snapshot) -> Vec<Series> {
    let series = series::oldest_expired(snapshot);
    series.map(|(map, _, oldest)| series::of_map(&map.map.name, float(oldest))).collect()
}

/// Expiry buckets that are past.
const OVERDUE: [Due; 4] = [Due::Overdue12h, Due::Overdue1h, Due::Overdue10m, Due::Overdue];

pub(super) fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let snapshot = evidence.snapshot;
    let Some((_, present)) = snapshot.present().find(|(map, _)| map.map.name == reading.map_name) else {
        return Words::default();
    };
    let scan = &present.scan;
    let dead = scan.count(|cell| OVERDUE.contains(&cell.due));
    let oldest = duration::format(Duration::from_secs(scan.oldest_expired.unwrap_or(0)));
    let outlook = gc::outlook(snapshot);
    // Where that leads is said once, for all maps.
    let passes = outlook.as_ref().map_or_else(String::new, |outlook| format!("; {}", outlook.passes()));
    let evidence = format!(
        "{dead} of {} entries are past their lifetime, the oldest since {oldest}; the map holds {}{passes}",
        scan.entries, present.capacity
    );
    Words::new(evidence, outlook.map(|outlook| outlook.advice(&reading.map_name)).unwrap_or_default())
}
