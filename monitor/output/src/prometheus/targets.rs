//! What belongs to the storage servers: the headline.

use monitor_check::storage;
use monitor_model::float::float;
use monitor_model::host::sockets::TcpState;
use monitor_model::snapshot::{HostState, SilentEntries, TargetState};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NO_TARGET: Option<&str> = Some("without a target");
const NO_CLOCK: Option<&str> = Some("without a target, and while the clock of lifetimes is unknown");
const NO_SOCKETS: Option<&str> = Some("without a target, and while the source `sockets` is off or down");

pub(super) const GROUP: Group = Group {
    title: "Targets",
    about: "Connections to the storage servers: those that the configuration names, and those that the node's mounts \
            and iSCSI sessions lead to. An entry that no service of its target takes counts as `other`.",
    metrics: &[
        Metric {
            name: "ctmon_target_entries",
            help: "Conntrack entries of the target by service, state and whether the lifetime has passed",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target", "target_service", "state", "expired"],
            absent: NO_TARGET,
            collect: entries,
        },
        Metric {
            name: "ctmon_target_stale_entries",
            help: "Entries with a closing bit: what grep -E 'RxClosing|TxClosing' counts. A healthy node always has some",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target", "target_service"],
            absent: NO_TARGET,
            collect: |input, samples| of_services(input, samples, |state| Some(float(state.stale()))),
        },
        Metric {
            name: "ctmon_target_lingering_entries",
            help: "Stale entries that have been silent for stale_after or longer. The goal is 0",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target", "target_service", "kind"],
            absent: NO_CLOCK,
            collect: lingering,
        },
        Metric {
            name: "ctmon_target_unanswered_entries",
            help: "Connections that lead out, wait for their first answer, and have heard nothing for two units of the clock",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target", "target_service"],
            absent: NO_CLOCK,
            collect: |input, samples| {
                of_services(input, samples, |state| Some(float(state.silent?.unanswered)));
            },
        },
        Metric {
            name: "ctmon_target_sockets",
            help: "TCP sockets of the node itself towards the target, the kernel's mounts and sessions included, by state",
            kind: Kind::Gauge,
            unit: Unit::Of("sockets"),
            labels: &["target", "target_service", "tcp_state"],
            absent: NO_SOCKETS,
            collect: sockets,
        },
        Metric {
            name: "ctmon_target_stalled_sockets",
            help: "Sockets to the target that repeat data and have heard nothing for 10 s: the earliest sign of a dead path",
            kind: Kind::Gauge,
            unit: Unit::Of("sockets"),
            labels: &["target"],
            absent: NO_SOCKETS,
            collect: |input, samples| of_targets(input, samples, storage::stalled),
        },
        Metric {
            name: "ctmon_target_keepalive_sockets",
            help: "Established sockets to the target that are known to use keepalive: the sysctls act on no others",
            kind: Kind::Gauge,
            unit: Unit::Of("sockets"),
            labels: &["target"],
            absent: NO_SOCKETS,
            collect: |input, samples| {
                of_targets(input, samples, |host, target| Some(storage::keepalive(host, target)?.using));
            },
        },
    ],
};

/// A sample for each target and service, where there is a value.
fn of_services(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&TargetState) -> Option<f64>) {
    for state in &input.snapshot.targets {
        samples.known(&[&state.target, &state.service], value(state));
    }
}

/// A sample for each target, where there is a value.
fn of_targets(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&HostState, &str) -> Option<u64>) {
    for target in input.snapshot.target_names() {
        samples.known(&[target], value(&input.snapshot.host, target).map(float));
    }
}

fn entries(input: &Input<'_>, samples: &mut Samples) {
    for TargetState { target, service, cells, silent: _ } in &input.snapshot.targets {
        for cell in cells {
            let expired = match cell.expired {
                None => "unknown",
                Some(true) => "true",
                Some(false) => "false",
            };
            samples.count(&[target, service, cell.state.name(), expired], cell.entries);
        }
    }
}

fn lingering(input: &Input<'_>, samples: &mut Samples) {
    for TargetState { target, service, silent, cells: _ } in &input.snapshot.targets {
        let Some(SilentEntries { lingering_closed, lingering_half_closed, .. }) = silent else { continue };
        samples.count(&[target, service, "closed"], *lingering_closed);
        samples.count(&[target, service, "half_closed"], *lingering_half_closed);
    }
}

fn sockets(input: &Input<'_>, samples: &mut Samples) {
    let Some(sockets) = &input.snapshot.host.sockets else { return };
    for TargetState { target, service, .. } in &input.snapshot.targets {
        let mine = sockets.of(target).filter(|socket| socket.service == *service);
        let states: Vec<TcpState> = mine.map(|socket| socket.socket.state).collect();
        // A listener has no remote end, so none is ever to a target.
        for state in TcpState::ALL.iter().filter(|state| **state != TcpState::Listen) {
            let count = states.iter().filter(|other| *other == state).count();
            samples.count(&[target, service, state.name()], count as u64);
        }
    }
}
