//! Closed and half-closed connections to a target that nobody collects.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, minutes};
use monitor_model::duration;

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;
use crate::gc;

/// Stale entries as such are no reason: a healthy node always has some between two passes of the gc.
pub(super) const STALE_CONNECTIONS: Definition = Definition {
    alert: Alert {
        name: "CtmonStaleConnections",
        severities: &[
            Grade::new(Severity::Info, 0.0, minutes(60)),
            Grade::new(Severity::Warning, 100.0, minutes(15)),
        ],
        keep_firing_for: SAW_TOOTH,
        expr: "sum without(target_service, kind)(ctmon_target_lingering_entries) > $T",
        labels: &["target"],
        summary: "stale connections towards {{ $labels.target }} linger on $NODE",
        description: "{{ printf \"%.0f\" $value }} closed or half-closed connections towards {{ $labels.target }} are \
                      still in the table of $NODE long after their last packet. The target is 0; \
                      `ctmon list --target {{ $labels.target }} --lingering` shows them.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| series::sum_of_services(snapshot, |state| Some(state.silent?.lingering())),
        words: Some(words),
    },
    ..Definition::BASE
};

pub(super) fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let Evidence { snapshot, settings, .. } = evidence;
    let (mut closed, mut half, mut stale) = (0, 0, 0);
    for state in snapshot.targets.iter().filter(|state| state.target == reading.target) {
        closed += state.silent.map_or(0, |silent| silent.lingering_closed);
        half += state.silent.map_or(0, |silent| silent.lingering_half_closed);
        stale += state.stale();
    }
    let silent = duration::format(settings.stale_after);
    let evidence = format!(
        "{closed} closed and {half} half-closed entries silent for {silent} or longer, of {stale} stale ones in all"
    );
    if half > closed {
        let advice = "most are half-closed: they stay for the TCP timeout whatever the collector does; `ctmon list \
                      --lingering` shows them";
        return Words::new(evidence, advice);
    }
    let remedy = gc::outlook(snapshot).map(|outlook| outlook.general_advice()).unwrap_or_default();
    let remedy = if remedy.is_empty() { "its next pass takes them".to_owned() } else { remedy };
    Words::new(evidence, format!("closed entries wait for the collector: {remedy}"))
}
