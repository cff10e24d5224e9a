//! The node beside the maps: tuning in force, its effects, mounts and sessions to the storage servers.

use monitor_check::tuning::{self, SysctlVerdict, mismatches};
use monitor_config::SysctlValue;
use monitor_model::float::float;
use monitor_model::host::iscsi::SessionState;
use monitor_model::host::netstat::NetCounters;
use monitor_model::host::sysctl::{FileHandles, Sysctl};
use monitor_model::snapshot::CifsTarget;

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NO_SYSCTLS: Option<&str> = Some("unless `expect.sysctls` names the sysctl");
const NO_FILE_HANDLES: Option<&str> = Some("while the source `file_handles` is down");
const NO_CIFS: Option<&str> = Some(
    "without a target, while the source `cifs` is off (the kernel has no SMB client) or down, and where the kernel does not list its servers",
);
const NO_COUNTER: Option<&str> = Some("where the kernel does not count it, or the source `netstat` is down");

pub(super) const GROUP: Group = Group {
    title: "The node",
    about: "What the kernel says beside the maps: whether expected tuning is in force and what it is for, and how the \
            mounts and sessions to the storage servers fare.",
    metrics: &[
        Metric {
            name: "ctmon_sysctl_expected",
            help: "Value the sysctl is compared with, as configured",
            kind: Kind::Gauge,
            unit: Unit::Of("the sysctl's own"),
            labels: &["sysctl"],
            absent: Some("unless `expect.sysctls` names the sysctl, and where a text is expected"),
            collect: expected,
        },
        Metric {
            name: "ctmon_sysctl_value",
            help: "Value of an expected sysctl; absent where it is no single number, or another network namespace answers",
            kind: Kind::Gauge,
            unit: Unit::Of("the sysctl's own"),
            labels: &["sysctl"],
            absent: Some("where it is no single number, or another network namespace answers"),
            collect: |input, samples| {
                of_sysctls(input, samples, |verdict, _| verdict.found.and_then(Sysctl::number));
            },
        },
        Metric {
            name: "ctmon_sysctl_in_force",
            help: "Whether the sysctl is as expected (1) or not (0)",
            kind: Kind::Gauge,
            unit: Unit::YesNo,
            labels: &["sysctl"],
            absent: NO_SYSCTLS,
            collect: |input, samples| {
                of_sysctls(input, samples, |_, in_force| Some(f64::from(u8::from(in_force))));
            },
        },
        Metric {
            name: "ctmon_target_mounts",
            help: "CIFS and NFS mounts of the target; bind mounts of one volume count once",
            kind: Kind::Gauge,
            unit: Unit::Of("mounts"),
            labels: &["target"],
            absent: Some("without a target, and while the source `mounts` is off or down"),
            collect: |input, samples| {
                let mounts = input.snapshot.host.mounts.as_ref();
                of_targets(input, samples, |target| Some(mounts?.of(target).count() as u64));
            },
        },
        Metric {
            name: "ctmon_target_mount_option_mismatches",
            help: "Mounts of the target that lack options configured as expected",
            kind: Kind::Gauge,
            unit: Unit::Of("mounts"),
            labels: &["target"],
            absent: Some(
                "without a target, unless `expect.mount_options` names any, and while the source `mounts` is off or down",
            ),
            collect: |input, samples| {
                of_targets(input, samples, |target| mismatches(input.snapshot, input.settings, target));
            },
        },
        Metric {
            name: "ctmon_iscsi_sessions",
            help: "iSCSI sessions of the kernel with the target, by state",
            kind: Kind::Gauge,
            unit: Unit::Of("sessions"),
            labels: &["target", "state"],
            absent: Some(
                "without a target, and while the source `iscsi` is off (the kernel has no iSCSI) or down",
            ),
            collect: iscsi,
        },
        Metric {
            name: "ctmon_file_handles_used",
            help: "Open file handles of the whole node",
            kind: Kind::Gauge,
            unit: Unit::Of("file handles"),
            labels: &[],
            absent: NO_FILE_HANDLES,
            collect: |input, samples| of_handles(input, samples, |handles| handles.used),
        },
        Metric {
            name: "ctmon_file_handles_max",
            help: "File handles the node allows (fs.file-max)",
            kind: Kind::Gauge,
            unit: Unit::Of("file handles"),
            labels: &[],
            absent: NO_FILE_HANDLES,
            collect: |input, samples| of_handles(input, samples, |handles| handles.max),
        },
        Metric {
            name: "ctmon_cifs_sessions",
            help: "SMB sessions of the kernel with the target",
            kind: Kind::Gauge,
            unit: Unit::Of("sessions"),
            labels: &["target"],
            absent: NO_CIFS,
            collect: |input, samples| of_cifs(input, samples, |cifs| cifs.sessions),
        },
        Metric {
            name: "ctmon_cifs_reconnects_total",
            help: "Times the kernel's SMB client reconnected to the target since the process began",
            kind: Kind::Counter,
            unit: Unit::Of("reconnects"),
            labels: &["target"],
            absent: NO_CIFS,
            collect: |input, samples| of_cifs(input, samples, |cifs| cifs.reconnects),
        },
        Metric {
            name: "ctmon_cifs_operations_total",
            help: "SMB operations sent to the target since the process began; there from the first share on",
            kind: Kind::Counter,
            unit: Unit::Of("operations"),
            labels: &["target", "op"],
            absent: Some("until the target had an SMB share"),
            collect: operations,
        },
        Metric {
            name: "ctmon_softnet_dropped_total",
            help: "Packets dropped because a CPU's backlog was full (net.core.netdev_max_backlog), since boot",
            kind: Kind::Counter,
            unit: Unit::Of("packets"),
            labels: &[],
            absent: NO_COUNTER,
            collect: |input, samples| {
                let softnet = input.snapshot.host.netstat.and_then(|netstat| netstat.softnet);
                samples.known(&[], softnet.map(|softnet| float(softnet.dropped)));
            },
        },
        Metric {
            name: "ctmon_listen_overflows_total",
            help: "Handshakes that found a listener's accept queue full, since boot",
            kind: Kind::Counter,
            unit: Unit::Of("handshakes"),
            labels: &[],
            absent: NO_COUNTER,
            collect: |input, samples| of_network(input, samples, |counters| counters.listen_overflows),
        },
        Metric {
            name: "ctmon_listen_drops_total",
            help: "SYNs and handshakes that listeners dropped for any reason, overflows included, since boot",
            kind: Kind::Counter,
            unit: Unit::Of("packets"),
            labels: &[],
            absent: NO_COUNTER,
            collect: |input, samples| of_network(input, samples, |counters| counters.listen_drops),
        },
        Metric {
            name: "ctmon_tcp_retransmits_total",
            help: "TCP segments the node sent again, since boot",
            kind: Kind::Counter,
            unit: Unit::Of("segments"),
            labels: &[],
            absent: NO_COUNTER,
            collect: |input, samples| of_network(input, samples, |counters| counters.retransmits),
        },
        Metric {
            name: "ctmon_tcp_keepalive_kills_total",
            help: "TCP connections given up for want of any answer, since boot. The kernel counts those that keepalive \
                   ended together with those that retransmissions did: an upper bound",
            kind: Kind::Counter,
            unit: Unit::Of("connections"),
            labels: &[],
            absent: NO_COUNTER,
            collect: |input, samples| of_network(input, samples, |counters| counters.aborts_on_timeout),
        },
    ],
};

fn expected(input: &Input<'_>, samples: &mut Samples) {
    for (name, expected) in &input.settings.expect.sysctls {
        if let SysctlValue::Number(number) = expected.value() {
            samples.add(&[name], signed(*number));
        }
    }
}

/// A number beyond 2^53 is a sysctl's word for "no limit", so the nearest one will do.
fn signed(number: i64) -> f64 {
    let size = float(number.unsigned_abs());
    if number < 0 { -size } else { size }
}

/// A sample for each expected sysctl that the node's own network namespace answers for, where there is a value.
fn of_sysctls(
    input: &Input<'_>,
    samples: &mut Samples,
    value: impl Fn(&SysctlVerdict<'_>, bool) -> Option<f64>,
) {
    for verdict in tuning::sysctls(&input.snapshot.host, input.settings) {
        samples.known(&[verdict.name], verdict.in_force().and_then(|in_force| value(&verdict, in_force)));
    }
}

/// A sample for each target, where there is a value.
fn of_targets(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&str) -> Option<u64>) {
    for target in input.snapshot.target_names() {
        samples.known(&[target], value(target).map(float));
    }
}

fn iscsi(input: &Input<'_>, samples: &mut Samples) {
    let Some(sessions) = &input.snapshot.host.iscsi else { return };
    for target in input.snapshot.target_names() {
        for state in SessionState::ALL {
            let mine = sessions.iter().filter(|session| session.target.as_deref() == Some(target));
            let count = mine.filter(|session| session.value.state == *state).count();
            samples.count(&[target, state.name()], count as u64);
        }
    }
}

fn of_handles(input: &Input<'_>, samples: &mut Samples, value: fn(FileHandles) -> u64) {
    samples.known(&[], input.snapshot.host.file_handles.map(|handles| float(value(handles))));
}

/// The targets that have or had an SMB share.
fn cifs<'a>(input: &Input<'a>) -> impl Iterator<Item = &'a CifsTarget> {
    input.snapshot.host.cifs.iter().flat_map(|cifs| &cifs.targets)
}

fn of_cifs(input: &Input<'_>, samples: &mut Samples, value: fn(&CifsTarget) -> Option<u64>) {
    for found in cifs(input) {
        samples.known(&[&found.target], value(found).map(float));
    }
}

fn operations(input: &Input<'_>, samples: &mut Samples) {
    for CifsTarget { target, operations, .. } in cifs(input) {
        for (op, count) in operations {
            samples.count(&[target, op.name()], *count);
        }
    }
}

fn of_network(input: &Input<'_>, samples: &mut Samples, value: fn(NetCounters) -> Option<u64>) {
    let netstat = input.snapshot.host.netstat;
    samples.known(&[], netstat.and_then(|netstat| value(netstat.counters)).map(float));
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read what is on file")]
mod tests;
