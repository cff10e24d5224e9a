//! Patterns in the logs of pods.

use monitor_model::host::logs::LogCounts;

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const OFF: Option<&str> = Some("unless `logs` names a pattern, and while the source `logs` is down");

pub(super) const GROUP: Group = Group {
    title: "Pod logs",
    about: "How often configured patterns were found in the logs of the node's pods. Reading is bounded: what was left \
            out is counted here too.",
    metrics: &[
        Metric {
            name: "ctmon_log_matches_total",
            help: "Messages in pod logs that matched the pattern since the process began",
            kind: Kind::Counter,
            unit: Unit::Of("messages"),
            labels: &["pattern"],
            absent: OFF,
            collect: |input, samples| {
                for (pattern, matches) in input.snapshot.host.logs.iter().flat_map(|logs| &logs.matches) {
                    samples.count(&[pattern], *matches);
                }
            },
        },
        Metric {
            name: "ctmon_log_skipped_bytes_total",
            help: "Bytes of pod logs passed over because a file grew faster than it may be read",
            kind: Kind::Counter,
            unit: Unit::Bytes,
            labels: &[],
            absent: OFF,
            collect: |input, samples| of_all(input, samples, |logs| logs.totals.skipped_bytes),
        },
        Metric {
            name: "ctmon_log_skipped_files",
            help: "Files of pod logs beyond the number that is followed",
            kind: Kind::Gauge,
            unit: Unit::Of("files"),
            labels: &[],
            absent: OFF,
            collect: |input, samples| of_all(input, samples, |logs| logs.skipped_files as u64),
        },
        Metric {
            name: "ctmon_log_failures_total",
            help: "Times a file of pod logs could not be opened or read",
            kind: Kind::Counter,
            unit: Unit::Of("failures"),
            labels: &[],
            absent: OFF,
            collect: |input, samples| of_all(input, samples, |logs| logs.totals.failures),
        },
    ],
};

fn of_all(input: &Input<'_>, samples: &mut Samples, value: fn(&LogCounts) -> u64) {
    if let Some(logs) = &input.snapshot.host.logs {
        samples.count(&[], value(logs));
    }
}
