//! A source of numbers fails.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;

/// A source without files is off by choice, and not down.
pub(super) const SOURCE_DOWN: Definition = Definition {
    alert: Alert {
        name: "CtmonSourceDown",
        severities: &[Grade::new(Severity::Info, 0.0, minutes(15))],
        expr: "1 - ctmon_source_up > $T",
        labels: &["source"],
        summary: "the source {{ $labels.source }} fails on $NODE",
        description: "ctmon's source {{ $labels.source }} on $NODE has failed for a while: its metrics are absent.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| vec![down(snapshot)], words: Some(words) },
    ..Definition::BASE
};

fn down(snapshot: &Snapshot) -> Series {
    let down = snapshot.sources.iter().filter(|source| source.error.is_some()).count();
    series::of_node(float(down as u64))
}

fn words(_: &Reading, evidence: &Evidence<'_>) -> Words {
    let sources = evidence.snapshot.sources.iter();
    let errors =
        sources.filter_map(|source| source.error.as_ref().map(|error| format!("{}: {error}", source.name)));
    Words::new(
        errors.collect::<Vec<_>>().join("; "),
        "the source's metrics are absent until the cause is gone",
    )
}
