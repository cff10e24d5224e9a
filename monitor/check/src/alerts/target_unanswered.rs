//! A target does not answer new connections.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::duration;
use monitor_model::float::float;
use monitor_model::snapshot::{SilentEntries, Snapshot, TargetState};

use super::definition::{Condition, Definition, Evidence, Series, Words};
use super::series;
use crate::finding::{Finding, Level, own};
use crate::lookback::reading::{LookbackReading, Over};

/// Addresses named in a sentence.
const NAMED: usize = 5;

/// The one that sees "new connections fail". A SYN that is sent again ends a silence for a moment, so the least of three
/// minutes would be 0 for a single dead mount; the lower quartile forgives that, and a slow answer now and then too. Where
/// scans happen to meet those moments the condition pauses for some minutes, which is no recovery.
pub(super) const TARGET_UNANSWERED: Definition = Definition {
    alert: Alert {
        name: "CtmonTargetUnanswered",
        severities: &[Grade::new(Severity::Critical, 0.0, minutes(2))],
        keep_firing_for: minutes(10),
        window: Some(minutes(3)),
        expr: "quantile_over_time(0.25, ctmon_target_unanswered_entries[$window]) > $T",
        labels: &["target", "target_service"],
        summary: "{{ $labels.target }} does not answer new connections from $NODE",
        description: "At three of four scans there were connections from $NODE to {{ $labels.target }} \
                      ({{ $labels.target_service }}) that had sent a SYN and heard nothing: \
                      `ctmon list --target {{ $labels.target }} --unanswered` shows them.",
        ..Alert::BASE
    },
    condition: Condition::Lookback { over: Over::LowerQuartile, series: unanswered, words },
    findings: Some(at_once),
    ..Definition::BASE
};

/// Until the clock is known nothing says how long an entry has been silent.
fn unanswered(snapshot: &Snapshot) -> Vec<Series> {
    let known = snapshot.targets.iter().filter_map(|state| Some((state, state.silent?.unanswered)));
    let series = known.map(|(state, unanswered)| Series {
        subject: state.service.clone(),
        ..series::of_target(&state.target, float(unanswered))
    });
    series.collect()
}

fn words(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            // A quartile lies between two counts.
            "at three of four scans {} about {:.0} connections or more to its service {} had sent a SYN and heard nothing",
            reading.lately(),
            reading.value.ceil(),
            reading.subject
        ),
        "`ctmon list --unanswered` shows them; see whether the server answers on that port from another host, then \
         `ctmon list --collisions`",
    )
}

/// Connections that wait for their first answer now: only paging waits until they stay so. Where the alert's own finding
/// says it already, nothing is repeated.
fn at_once(evidence: &Evidence<'_>) -> Vec<Finding> {
    let Evidence { snapshot, history, settings } = evidence;
    let lasting: Vec<&LookbackReading> =
        history.iter().flat_map(|history| history.beyond(settings)).filter(|beyond| is_own(beyond)).collect();
    let waiting = snapshot.targets.iter().filter_map(|state| {
        let silent = state.silent.filter(|silent| silent.unanswered > 0)?;
        let has_own = lasting.iter().any(|reading| reading.target == state.target);
        (!has_own).then(|| finding(snapshot, state, &silent))
    });
    waiting.collect()
}

fn is_own(reading: &LookbackReading) -> bool {
    reading.alert.name == TARGET_UNANSWERED.alert.name
}

fn finding(snapshot: &Snapshot, state: &TargetState, silent: &SilentEntries) -> Finding {
    let oldest = silent
        .longest_unanswered
        .map_or_else(String::new, |longest| format!(", the oldest for {}", duration::format(longest)));
    let evidence = format!(
        "{} connections to {}/{} unanswered{oldest}{}",
        silent.unanswered,
        state.target,
        state.service,
        from(snapshot, &state.target, &state.service)
    );
    let advice = "`ctmon list --unanswered` shows them; see whether the server answers on that port from another host; \
                  the alert waits until they stay so";
    Finding { target: state.target.clone(), ..own("unanswered", Level::WARNING, &evidence, advice) }
}

/// Where they come from, the most frequent first; empty where they were not asked for.
fn from(snapshot: &Snapshot, target: &str, service: &str) -> String {
    let found = snapshot.initiators.iter().find(|found| found.target == target && found.service == service);
    let Some(found) = found else { return String::new() };
    let named: Vec<String> = found.from.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match found.from.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(", from {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use monitor_model::snapshot::{Initiators, SilentEntries};

    use super::*;
    use crate::testing::{defaults, nothing};

    #[test]
    fn unanswered_connections_are_a_finding_at_once_with_their_age_and_where_they_come_from() {
        let settings = defaults();
        let mut snapshot = nothing(&settings);
        let check = |snapshot: &Snapshot, expected: Option<&str>| {
            let found = at_once(&Evidence { snapshot, history: None, settings: &settings });
            let told = found.first().map(|finding| finding.evidence.as_str());
            assert_eq!((told, found.len()), (expected, usize::from(expected.is_some())));
            assert!(found.iter().all(|finding| finding.level == Level::WARNING && finding.target == "qnap"));
        };
        check(&snapshot, None);
        let waiting = |unanswered, longest: Option<u64>| SilentEntries {
            unanswered,
            longest_unanswered: longest.map(Duration::from_secs),
            ..SilentEntries::default()
        };
        let smb = snapshot.targets.iter().position(|state| state.service == "smb").unwrap();
        snapshot.targets[smb].silent = Some(waiting(0, None));
        check(&snapshot, None);
        snapshot.targets[smb].silent = Some(waiting(7, Some(31)));
        check(&snapshot, Some("7 connections to qnap/smb unanswered, the oldest for 31s"));
        let from = (1..=7).map(|last| [10, 244, 0, last].into()).collect();
        snapshot.initiators = vec![Initiators { target: "qnap".to_owned(), service: "smb".to_owned(), from }];
        check(
            &snapshot,
            Some(
                "7 connections to qnap/smb unanswered, the oldest for 31s, from 10.244.0.1, 10.244.0.2, 10.244.0.3, \
                 10.244.0.4, 10.244.0.5 and 2 more",
            ),
        );
    }
}
