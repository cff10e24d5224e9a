//! Sockets to a target repeat data and hear nothing.

use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::duration;
use monitor_model::host::sockets::{TcpState, Timer};
use monitor_model::snapshot::TargetSocket;

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;
use crate::storage::{NAMED, STALLED_AFTER, stalled};

/// A silent, retransmitting socket is the earliest sign: mounts that share it hang long before they fail.
pub(super) const STORAGE_PATH_STALLED: Definition = Definition {
    alert: Alert {
        name: "CtmonStoragePathStalled",
        severities: &[Grade::new(Severity::Critical, 0.0, minutes(1))],
        expr: "ctmon_target_stalled_sockets > $T",
        labels: &["target"],
        summary: "the storage path to {{ $labels.target }} is stalled on $NODE",
        description: "{{ printf \"%.0f\" $value }} sockets of $NODE to {{ $labels.target }} retransmit and hear \
                      nothing: every mount and disk behind them hangs.",
        ..Alert::BASE
    },
    condition: Condition::Now {
        series: |snapshot, _| series::targets(snapshot, |target| stalled(&snapshot.host, target)),
        words: Some(words),
    },
    ..Definition::BASE
};

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let Some(state) = &evidence.snapshot.host.sockets else { return Words::default() };
    let all = state.of(&reading.target).count();
    let stalled: Vec<&TargetSocket> =
        state.of(&reading.target).filter(|socket| socket.socket.is_stalled(STALLED_AFTER)).collect();
    let named: Vec<String> = stalled.iter().take(NAMED).map(|socket| describe(socket)).collect();
    Words::new(
        format!("{} of {all} sockets repeat data and hear nothing: {}", stalled.len(), named.join("; ")),
        "every mount and disk behind them hangs. Does the server answer a new connection from this node? If so only \
         the old one is dead: CIFS reconnects after two missed echoes (echo_interval), iSCSI after its NOP time-out; \
         keepalive sysctls change that only for sockets that use keepalive",
    )
}

fn describe(TargetSocket { target: _, service, socket }: &TargetSocket) -> String {
    let timer = match socket.timer {
        Some(Timer::Retransmit { retransmits, .. }) => u32::from(retransmits),
        _ => 0,
    };
    let repeated = socket.info.map_or(0, |info| u32::from(info.retransmits)).max(timer);
    let (local, remote, state) = (socket.local, socket.remote, socket.state.name());
    let ends = format!("{local} to {remote} ({service}, {state})");
    // Before the handshake there is nothing to be silent after.
    if socket.state == TcpState::SynSent {
        return format!("{ends}, SYN repeated {repeated} times");
    }
    let silent =
        socket.silent_for().map(|silent| format!(", silent for {}", duration::format_seconds(silent)));
    let silent = silent.unwrap_or_default();
    format!("{ends}{silent}, repeated {repeated} times, {} bytes unacknowledged", socket.send_queue)
}
