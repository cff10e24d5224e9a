//! More conntrack entries than the number configured as normal.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, minutes};

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;

/// Off by default: what is normal is known only by whoever runs the node.
pub(super) const ENTRIES_ABOVE_NORMAL: Definition = Definition {
    alert: Alert {
        name: "CtmonEntriesAboveNormal",
        severities: &[Grade::off(Severity::Info, minutes(60))],
        keep_firing_for: SAW_TOOTH,
        expr: EXPR,
        summary: "more conntrack entries than usual on $NODE",
        description: "$NODE tracks {{ $value | humanize }} connections, more than the number configured as normal.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| series::conntrack_entries(snapshot),
        words: Some(words),
    },
    ..Definition::BASE
};

pub(super) const EXPR: &str =
    "sum without(map_name)(ctmon_map_entries{map_name=~\"(per_cluster_)?ct.*\"}) > $T";

pub(super) fn words(reading: &Reading, _: &Evidence<'_>) -> Words {
    Words::new(
        format!("{:.0} conntrack entries, more than the {:.0} configured", reading.value, reading.threshold),
        "`ctmon top` tells who fills the table, `ctmon list --expired --count` how much of it is dead",
    )
}
