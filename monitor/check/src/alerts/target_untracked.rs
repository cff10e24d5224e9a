//! The node's own connections to a target are not in conntrack.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;
use monitor_model::snapshot::deep::Untracked;

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;

pub(super) const TARGET_UNTRACKED: Definition = Definition {
    alert: Alert {
        name: "CtmonTargetUntracked",
        severities: &[Grade::new(Severity::Info, 0.0, minutes(15))],
        expr: "ctmon_target_untracked_sockets > $T",
        labels: &["target"],
        summary: "connections to {{ $labels.target }} are not in conntrack on $NODE",
        description: "{{ printf \"%.0f\" $value }} sockets of $NODE to {{ $labels.target }} have no conntrack entry: \
                      the node's own traffic bypasses Cilium there, and \"0 stale\" proves nothing about it.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| untracked(snapshot), words: Some(words) },
    ..Definition::BASE
};

fn untracked(snapshot: &Snapshot) -> Vec<Series> {
    let targets = snapshot.deep.iter().flat_map(|deep| &deep.targets);
    targets
        .filter_map(|found| Some(series::of_target(&found.target, float(found.untracked?.all()))))
        .collect()
}

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let targets = evidence.snapshot.deep.iter().flat_map(|deep| &deep.targets);
    let found = targets.filter(|found| found.target == reading.target).find_map(|found| found.untracked);
    let untracked = found.unwrap_or_default();
    let Untracked { low_port, no_masquerade, idle, unknown } = untracked;
    let reasons = [
        (low_port, "their source port lies below those Cilium masquerades to"),
        (no_masquerade, "BPF masquerading is off: the node's own traffic does not pass Cilium's NAT"),
        (idle, "they were silent for longer than the TCP timeout"),
        (unknown, "the reason cannot be told from here"),
    ];
    let reasons: Vec<_> = reasons
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count}: {why}"))
        .collect();
    Words::new(
        format!(
            "{} sockets of the node have no conntrack entry ({}): \"0 stale\" proves nothing about them",
            untracked.all(),
            reasons.join("; ")
        ),
        "`ss -tn dst ADDRESS` shows them; conntrack limits do not touch them either",
    )
}
