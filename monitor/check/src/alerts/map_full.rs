//! A map is nearly full.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};

use super::definition::{Condition, Definition};
use super::{map_filling, series};

pub(super) const MAP_FULL: Definition = Definition {
    alert: Alert {
        name: "CtmonMapFull",
        severities: &[Grade::new(Severity::Critical, 0.90, minutes(5))],
        unit: Unit::Ratio,
        keep_firing_for: SAW_TOOTH,
        expr: map_filling::EXPR,
        labels: &["map_name"],
        summary: "{{ $labels.map_name }} on $NODE is nearly full",
        description: "{{ $labels.map_name }} on $NODE is {{ $value | humanizePercentage }} full. At 100 % the kernel \
                      evicts entries of live connections: they stall or are reset, and no log tells. Look first at how \
                      many of the entries are dead: those go with the collector's next pass, not with a bigger map.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| series::fill_of_maps(snapshot),
        words: Some(map_filling::words),
    },
    // A map that is full was filling before: one finding says both.
    outdoes: Some(map_filling::MAP_FILLING.alert.name),
    ..Definition::BASE
};
