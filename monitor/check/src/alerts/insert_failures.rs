//! Cilium drops packets because it cannot track their connections.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::drops::DropReason;

use super::definition::{Condition, Definition, Words};
use super::series;
use crate::finding::format_number;
use crate::lookback::reading::{LookbackReading, Over};

pub(crate) const INSERT_FAILURES: Definition = Definition {
    alert: Alert {
        name: "CtmonInsertFailures",
        severities: &[Grade::new(Severity::Warning, 10.0, minutes(0))],
        unit: Unit::Events,
        keep_firing_for: minutes(15),
        window: Some(minutes(15)),
        expr: "sum without(direction)(increase(ctmon_datapath_drops_total{reason=\"CT: Map insertion failed\"}[$window])) \
               > $T",
        labels: &["reason"],
        summary: "Cilium drops packets because it cannot track their connections on $NODE",
        description: "About {{ printf \"%.0f\" $value }} packets were dropped on $NODE with \"{{ $labels.reason }}\": \
                      new connections fail.",
        ..Alert::BASE
    },
    condition: Condition::Lookback {
        over: Over::Increase,
        series: |snapshot| series::dropped(snapshot, DropReason::CtCreateFailed),
        words,
    },
    ..Definition::BASE
};

fn words(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "the datapath failed {} times to insert a conntrack entry {}: as many new connections failed",
            format_number(reading.value),
            reading.lately()
        ),
        "look at the fill of the conntrack maps, and at how much of it is dead",
    )
}
