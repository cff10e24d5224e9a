//! What belongs to the storage servers: the headline.

use monitor_check::storage;
use monitor_model::host::sockets::TcpState;
use monitor_model::snapshot::{Snapshot, SocketState, TargetState};

use super::page::{Metric, Page};

const ENTRIES: Metric = Metric::gauge(
    "ctmon_target_entries",
    "Conntrack entries of the target by service, state and whether the lifetime has passed",
);
const STALE: Metric = Metric::gauge(
    "ctmon_target_stale_entries",
    "Entries with a closing bit: what grep -E 'RxClosing|TxClosing' counts. A healthy node always has some",
);
const LINGERING: Metric = Metric::gauge(
    "ctmon_target_lingering_entries",
    "Stale entries that have been silent for stale_after or longer. The goal is 0",
);
const UNANSWERED: Metric = Metric::gauge(
    "ctmon_target_unanswered_entries",
    "Connections that lead out, wait for their first answer, and have heard nothing for two units of the clock",
);

const SOCKETS: Metric = Metric::gauge(
    "ctmon_target_sockets",
    "TCP sockets of the node itself towards the target, the kernel's mounts and sessions included, by state",
);
const STALLED: Metric = Metric::gauge(
    "ctmon_target_stalled_sockets",
    "Sockets to the target that repeat data and have heard nothing for 10 s: the earliest sign of a dead path",
);
const KEEPALIVE: Metric = Metric::gauge(
    "ctmon_target_keepalive_sockets",
    "Established sockets to the target that are known to use keepalive: the sysctls act on no others",
);

pub(super) const METRICS: &[Metric] = &[ENTRIES, STALE, LINGERING, UNANSWERED, SOCKETS, STALLED, KEEPALIVE];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    for state in &snapshot.targets {
        let target = ("target", state.target.as_str());
        let service = ("target_service", state.service.as_str());
        for cell in &state.cells {
            let expired = match cell.expired {
                None => "unknown",
                Some(true) => "true",
                Some(false) => "false",
            };
            page.count(
                ENTRIES,
                &[target, service, ("state", cell.state.name()), ("expired", expired)],
                cell.entries,
            );
        }
        page.count(STALE, &[target, service], state.stale());
        if let Some(silent) = &state.silent {
            for (kind, entries) in
                [("closed", silent.lingering_closed), ("half_closed", silent.lingering_half_closed)]
            {
                page.count(LINGERING, &[target, service, ("kind", kind)], entries);
            }
            page.count(UNANSWERED, &[target, service], silent.unanswered);
        }
    }
    if let Some(sockets) = &snapshot.host.sockets {
        add_sockets(page, snapshot, sockets);
    }
}

fn add_sockets(page: &mut Page, snapshot: &Snapshot, sockets: &SocketState) {
    for TargetState { target, service, .. } in &snapshot.targets {
        // A listener has no remote end, so none is ever to a target.
        for state in TcpState::ALL.iter().filter(|state| **state != TcpState::Listen) {
            let mine = sockets.of(target).filter(|socket| socket.service == *service);
            let count = mine.filter(|socket| socket.socket.state == *state).count();
            let labels =
                [("target", target.as_str()), ("target_service", service), ("tcp_state", state.name())];
            page.count(SOCKETS, &labels, count as u64);
        }
    }
    for target in snapshot.target_names() {
        let label = ("target", target);
        if let Some(stalled) = storage::stalled(&snapshot.host, target) {
            page.count(STALLED, &[label], stalled);
        }
        if let Some(keepalive) = storage::keepalive(&snapshot.host, target) {
            page.count(KEEPALIVE, &[label], keepalive.using);
        }
    }
}
