//! Conntrack is not read at all.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series};
use super::series;

/// No pins, or none that can be read: whatever else is shown of this node, its connections are not. What is wrong with
/// one map while others are read is [`CtmonMapUnreadable`](super::map_unreadable).
pub(crate) const UNWATCHED: Definition = Definition {
    alert: Alert {
        name: "CtmonUnwatched",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(10))],
        expr: "1 - ctmon_source_up{source=\"conntrack\"} > $T\n\
               unless on($cluster, instance) ctmon_map_entries{map_name=~\"(per_cluster_)?ct.*\"}",
        summary: "conntrack of $NODE is not watched",
        description: "ctmon on $NODE reads no conntrack map: Cilium does not run there, its maps are pinned elsewhere, or \
                      they are refused. No number, no alert and no finding says anything about its connections.",
        ..Alert::BASE
    },
    // The finding that nothing could be told says it, and why.
    condition: Condition::Now { series: |snapshot, _| vec![unwatched(snapshot)], words: None },
    ..Definition::BASE
};

fn unwatched(snapshot: &Snapshot) -> Series {
    let watched = snapshot.present().any(|(map, _)| map.map.is_conntrack());
    series::of_node(f64::from(u8::from(!watched)))
}
