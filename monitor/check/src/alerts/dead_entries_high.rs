//! Dead entries take a large part of a map.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};
use monitor_model::snapshot::{Snapshot, ratio};

use super::definition::{Condition, Definition, Series};
use super::{collection_lagging, series};

/// However young they are: what is dead between two passes of the gc is room that living connections lack. A gc that keeps
/// up with its load leaves a few percent.
pub(super) const DEAD_ENTRIES_HIGH: Definition = Definition {
    alert: Alert {
        name: "CtmonDeadEntriesHigh",
        severities: &[Grade::new(Severity::Warning, 0.15, minutes(15))],
        unit: Unit::Ratio,
        keep_firing_for: SAW_TOOTH,
        expr: "sum without(direction, state, expired)(ctmon_ct_entries{expired=\"true\"}) / ctmon_map_capacity > $T",
        labels: &["map_name"],
        summary: "dead entries fill {{ $labels.map_name }} on $NODE",
        description: "Dead entries take {{ $value | humanizePercentage }} of {{ $labels.map_name }} on $NODE. How the \
                      interval of Cilium's collector is set there decides what helps: `ctmon check` on the node tells.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| dead_share(snapshot),
        words: Some(collection_lagging::words),
    },
    between_passes: true,
    ..Definition::BASE
};

fn dead_share(snapshot: &Snapshot) -> Vec<Series> {
    let shares = series::oldest_expired(snapshot).map(|(map, present, _)| {
        let dead = present.scan.count(|cell| cell.due.expired() == Some(true));
        series::of_map(&map.map.name, ratio(dead, present.capacity.into()))
    });
    shares.collect()
}
