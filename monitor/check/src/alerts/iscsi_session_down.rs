//! iSCSI sessions to a target are not logged in.

use std::net::SocketAddr;

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::host::iscsi::{Session, SessionState};

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;
use crate::storage::{NAMED, sessions_down};

pub(super) const ISCSI_SESSION_DOWN: Definition = Definition {
    alert: Alert {
        name: "CtmonIscsiSessionDown",
        severities: &[Grade::new(Severity::Critical, 0.0, minutes(2))],
        expr: "sum without(state)(ctmon_iscsi_sessions{state!=\"logged_in\"}) > $T",
        labels: &["target"],
        summary: "iSCSI sessions to {{ $labels.target }} are down on $NODE",
        description: "{{ printf \"%.0f\" $value }} iSCSI sessions of $NODE to {{ $labels.target }} are not logged in: \
                      their disks hang, then fail.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| {
            series::targets(snapshot, |target| Some(sessions_down(&snapshot.host, target)?.count() as u64))
        },
        words: Some(words),
    },
    ..Definition::BASE
};

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let host = &evidence.snapshot.host;
    let down: Vec<&Session> = sessions_down(host, &reading.target).into_iter().flatten().collect();
    let named: Vec<String> = down.iter().take(NAMED).map(|session| describe(session)).collect();
    let advice = if down.iter().any(|session| session.state == SessionState::Free) {
        "the recovery time-out is over: requests fail with input/output errors and file systems turn read-only. Bring \
         the portal back, then delete the pods that use the disks, so that they are attached and checked anew"
    } else {
        "requests wait until the session is back or its recovery time-out is over, then they fail: see that the \
         portal answers from this node"
    };
    Words::new(format!("{} iSCSI sessions are not logged in: {}", down.len(), named.join("; ")), advice)
}

fn describe(session: &Session) -> String {
    let target = session.target.as_ref().map(|target| format!(", {target}"));
    let portal =
        session.portal().map(|(address, port)| format!(" through {}", SocketAddr::new(address, port)));
    let wait = session.recovery_timeout.map(|seconds| match seconds {
        0.. => format!(", recovery time-out {seconds} s"),
        _ => ", waits for ever".to_owned(),
    });
    let parts = [target, portal, wait].map(Option::unwrap_or_default).concat();
    format!("{} is {}{parts}", session.name, session.state.name())
}
