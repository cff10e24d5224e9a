//! Connections that wait for their first answer, at once: only paging waits until they stay so.
//!
//! In: a snapshot, what a daemon remembers. Out: a finding for each service of a target with such connections. Must not:
//! repeat what the alert says where it holds already.

use monitor_config::Settings;
use monitor_model::duration;
use monitor_model::snapshot::Snapshot;

use super::finding::{Finding, Level, own};
use super::history::History;

/// The alert that holds once they stay so.
const ALERT: &str = "CtmonTargetUnanswered";
/// Addresses named in a sentence.
const NAMED: usize = 5;

pub(super) fn findings(snapshot: &Snapshot, history: Option<&History>, settings: &Settings) -> Vec<Finding> {
    let holds: Vec<Finding> = history.map(|history| history.findings(settings)).unwrap_or_default();
    let mut all = Vec::new();
    for state in &snapshot.targets {
        let Some(silent) = state.silent.filter(|silent| silent.unanswered > 0) else { continue };
        if holds.iter().any(|finding| finding.check == ALERT && finding.target == state.target) {
            continue;
        }
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
        let advice = "`ctmon list --unanswered` shows them; see whether the server answers on that port from another \
                      host; the alert waits until they stay so";
        all.push(Finding {
            target: state.target.clone(),
            ..own("unanswered", Level::Warning, &evidence, advice)
        });
    }
    all
}

/// Where they come from, the most frequent first; empty where nobody looked.
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
    use crate::testing::nothing;

    #[test]
    fn unanswered_connections_are_a_finding_at_once_with_their_age_and_where_they_come_from() {
        let settings = Settings::default();
        let mut snapshot = nothing(&settings);
        let check = |snapshot: &Snapshot, expected: Option<&str>| {
            let found = findings(snapshot, None, &settings);
            let told = found.first().map(|finding| finding.evidence.as_str());
            assert_eq!((told, found.len()), (expected, usize::from(expected.is_some())));
            assert!(found.iter().all(|finding| finding.level == Level::Warning && finding.target == "qnap"));
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
