//! A map will be full soon, at its present growth.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};

use super::definition::Definition;

pub(super) const MAP_FULL_SOON: Definition = Definition {
    alert: Alert {
        name: "CtmonMapFullSoon",
        severities: &[Grade::new(Severity::Warning, 0.5, minutes(30))],
        unit: Unit::Ratio,
        keep_firing_for: SAW_TOOTH,
        window: Some(minutes(120)),
        expr: "predict_linear(ctmon_map_entries[$window], $horizon) > ctmon_map_capacity\n\
               and ctmon_map_entries / ctmon_map_capacity > $T",
        labels: &["map_name"],
        summary: "{{ $labels.map_name }} on $NODE will be full soon",
        description: "At its present growth {{ $labels.map_name }} on $NODE reaches {{ $value | humanize }} entries \
                      within hours, more than it can hold.",
        ..Alert::BASE
    },
    ..Definition::BASE
};
