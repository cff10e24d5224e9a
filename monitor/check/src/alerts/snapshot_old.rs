//! The numbers are old.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};

use super::definition::Definition;

/// Four effective intervals, and half a minute of grace for a slow machine.
pub(super) const SNAPSHOT_OLD: Definition = Definition {
    alert: Alert {
        name: "CtmonSnapshotOld",
        severities: &[Grade::new(Severity::Warning, 4.0, minutes(5))],
        unit: Unit::Times,
        expr: "(ctmon_snapshot_age_seconds - 30) / ctmon_scan_interval_seconds > $T",
        summary: "ctmon on $NODE shows old numbers",
        description: "The last complete scan on $NODE was {{ printf \"%.0f\" $value }} intervals ago: every other \
                      number of this node is that old.",
        ..Alert::BASE
    },
    ..Definition::BASE
};
