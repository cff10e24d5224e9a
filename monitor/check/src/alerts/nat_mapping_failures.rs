//! Cilium finds no source port to masquerade to.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::drops::DropReason;

use super::definition::{Condition, Definition, Words};
use super::series;
use crate::finding::format_number;
use crate::lookback::reading::{LookbackReading, Over};

pub(crate) const NAT_MAPPING_FAILURES: Definition = Definition {
    alert: Alert {
        name: "CtmonNatMappingFailures",
        severities: &[Grade::new(Severity::Warning, 0.1, minutes(10))],
        unit: Unit::PerSecond,
        window: Some(minutes(10)),
        expr: "sum without(direction)(rate(ctmon_datapath_drops_total{reason=\"No mapping for NAT masquerade\"}[$window])) \
               > $T",
        labels: &["reason"],
        summary: "Cilium finds no source port to masquerade to on $NODE",
        description: "{{ $value | humanize }} packets a second are dropped on $NODE with \"{{ $labels.reason }}\": \
                      connections out of the cluster fail.",
        ..Alert::BASE
    },
    condition: Condition::Lookback {
        over: Over::PerSecond,
        series: |snapshot| series::dropped(snapshot, DropReason::NatNoMapping),
        words,
    },
    ..Definition::BASE
};

fn words(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "{} packets a second found no port to be translated to {}: connections out of the cluster fail",
            format_number(reading.value),
            reading.lately()
        ),
        "`ctmon top --by nat-ports` shows the fullest tuples",
    )
}
