//! Pod logs match a configured pattern.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series, Words};
use super::series;
use crate::finding::format_number;
use crate::lookback::reading::{LookbackReading, Over};

/// One rule for all patterns: the label tells them apart, so that each is an alert of its own.
pub(super) const LOG_PATTERN: Definition = Definition {
    alert: Alert {
        name: "CtmonLogPattern",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(0))],
        unit: Unit::Events,
        window: Some(minutes(15)),
        expr: "increase(ctmon_log_matches_total[$window]) > $T",
        labels: &["pattern"],
        summary: "pod logs on $NODE match {{ $labels.pattern }}",
        description: "About {{ printf \"%.0f\" $value }} lines in the pod logs of $NODE matched the pattern \
                      {{ $labels.pattern }} lately.",
        ..Alert::BASE
    },
    condition: Condition::Lookback { over: Over::Increase, series: matches, words },
    ..Definition::BASE
};

fn matches(snapshot: &Snapshot) -> Vec<Series> {
    let matches = snapshot.host.logs.iter().flat_map(|logs| &logs.matches);
    let each = matches
        .map(|(pattern, matched)| Series { subject: pattern.clone(), ..series::of_node(float(*matched)) });
    each.collect()
}

fn words(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "pod logs matched the pattern {} {} times {}",
            reading.subject,
            format_number(reading.value),
            reading.lately()
        ),
        "read the logs of the pods that the pattern selects",
    )
}
