//! Connections to a target that were closed by one side only.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, minutes};
use monitor_model::duration;

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;

/// One closing bit keeps an entry for the full TCP timeout: the gc is not to blame for these.
pub(super) const HALF_CLOSED_PILE_UP: Definition = Definition {
    alert: Alert {
        name: "CtmonHalfClosedPileUp",
        severities: &[Grade::new(Severity::Warning, 20.0, minutes(30))],
        keep_firing_for: SAW_TOOTH,
        expr: "sum without(target_service, kind)(ctmon_target_lingering_entries{kind=\"half_closed\"}) > $T",
        labels: &["target"],
        summary: "half-closed connections towards {{ $labels.target }} pile up on $NODE",
        description: "{{ printf \"%.0f\" $value }} connections towards {{ $labels.target }} were closed by one side \
                      only and are silent; Cilium on $NODE keeps such entries for the full TCP timeout.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| {
            series::sum_of_services(snapshot, |state| Some(state.silent?.lingering_half_closed))
        },
        words: Some(words),
    },
    ..Definition::BASE
};

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let silent = duration::format(evidence.settings.stale_after);
    Words::new(
        format!(
            "{:.0} half-closed entries have been silent for {silent} or longer: one side sent a FIN, the other did not",
            reading.value
        ),
        "they keep the full TCP timeout, whatever the collector does: find the side that never closes (`ctmon list \
         --lingering`), or lower bpf-ct-timeout-regular-tcp",
    )
}
