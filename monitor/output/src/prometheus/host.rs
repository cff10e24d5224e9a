//! The node beside the maps: tuning in force, its effects, sessions to the storage servers, patterns in logs.

use monitor_check::tuning::{self, mismatches};
use monitor_config::{Settings, SysctlValue};
use monitor_model::host::iscsi::SessionState;
use monitor_model::host::sysctl::Sysctl;
use monitor_model::snapshot::{CifsTarget, HostState, Snapshot};

use super::page::{Metric, Page};

const SYSCTL: Metric = Metric::gauge(
    "ctmon_sysctl_value",
    "Value of an expected sysctl; absent where it is no single number, or another network namespace answers",
);
const SYSCTL_EXPECTED: Metric =
    Metric::gauge("ctmon_sysctl_expected", "Value the sysctl is compared with, as configured");
const SYSCTL_IN_FORCE: Metric =
    Metric::gauge("ctmon_sysctl_in_force", "Whether the sysctl is as expected (1) or not (0)");
const MOUNTS: Metric = Metric::gauge(
    "ctmon_target_mounts",
    "CIFS and NFS mounts of the target; bind mounts of one volume count once",
);
const MISMATCHES: Metric = Metric::gauge(
    "ctmon_target_mount_option_mismatches",
    "Mounts of the target that lack options configured as expected",
);
const HANDLES: Metric = Metric::gauge("ctmon_file_handles_used", "Open file handles of the whole node");
const HANDLES_MAX: Metric =
    Metric::gauge("ctmon_file_handles_max", "File handles the node allows (fs.file-max)");
const CIFS_SESSIONS: Metric =
    Metric::gauge("ctmon_cifs_sessions", "SMB sessions of the kernel with the target");
const ISCSI_SESSIONS: Metric =
    Metric::gauge("ctmon_iscsi_sessions", "iSCSI sessions of the kernel with the target, by state");
const CIFS_RECONNECTS: Metric = Metric::counter(
    "ctmon_cifs_reconnects_total",
    "Times the kernel's SMB client reconnected to the target since the process began",
);
const CIFS_OPERATIONS: Metric = Metric::counter(
    "ctmon_cifs_operations_total",
    "SMB operations sent to the target since the process began; there from the first share on",
);
const SOFTNET: Metric = Metric::counter(
    "ctmon_softnet_dropped_total",
    "Packets dropped because a CPU's backlog was full (net.core.netdev_max_backlog), since boot",
);
const LISTEN_OVERFLOWS: Metric = Metric::counter(
    "ctmon_listen_overflows_total",
    "Handshakes that found a listener's accept queue full, since boot",
);
const LISTEN_DROPS: Metric = Metric::counter(
    "ctmon_listen_drops_total",
    "SYNs and handshakes that listeners dropped for any reason, overflows included, since boot",
);
const RETRANSMITS: Metric =
    Metric::counter("ctmon_tcp_retransmits_total", "TCP segments the node sent again, since boot");
const KEEPALIVE_KILLS: Metric = Metric::counter(
    "ctmon_tcp_keepalive_kills_total",
    "TCP connections given up for want of any answer, since boot. The kernel counts those that keepalive ended \
     together with those that retransmissions did: an upper bound",
);
const LOG_MATCHES: Metric = Metric::counter(
    "ctmon_log_matches_total",
    "Messages in pod logs that matched the pattern since the process began",
);
const LOG_SKIPPED_BYTES: Metric = Metric::counter(
    "ctmon_log_skipped_bytes_total",
    "Bytes of pod logs passed over because a file grew faster than it may be read",
);
const LOG_SKIPPED_FILES: Metric =
    Metric::gauge("ctmon_log_skipped_files", "Files of pod logs beyond the number that is followed");
const LOG_FAILURES: Metric =
    Metric::counter("ctmon_log_failures_total", "Times a file of pod logs could not be opened or read");

pub(super) const METRICS: &[Metric] = &[
    SYSCTL,
    SYSCTL_EXPECTED,
    SYSCTL_IN_FORCE,
    MOUNTS,
    MISMATCHES,
    HANDLES,
    HANDLES_MAX,
    CIFS_SESSIONS,
    CIFS_RECONNECTS,
    CIFS_OPERATIONS,
    ISCSI_SESSIONS,
    SOFTNET,
    LISTEN_OVERFLOWS,
    LISTEN_DROPS,
    RETRANSMITS,
    KEEPALIVE_KILLS,
    LOG_MATCHES,
    LOG_SKIPPED_BYTES,
    LOG_SKIPPED_FILES,
    LOG_FAILURES,
];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot, settings: &Settings) {
    let host = &snapshot.host;
    sysctls(page, host, settings);
    for target in snapshot.target_names() {
        let label = ("target", target);
        if let Some(mounts) = &host.mounts {
            page.count(MOUNTS, &[label], mounts.of(target).count() as u64);
        }
        if let Some(lacking) = mismatches(snapshot, settings, target) {
            page.count(MISMATCHES, &[label], lacking);
        }
        iscsi(page, host, target);
    }
    if let Some(handles) = host.file_handles {
        page.count(HANDLES, &[], handles.used);
        page.count(HANDLES_MAX, &[], handles.max);
    }
    for CifsTarget { target, sessions, reconnects, operations } in
        host.cifs.iter().flat_map(|cifs| &cifs.targets)
    {
        let target = ("target", target.as_str());
        add_known(page, CIFS_SESSIONS, &[target], *sessions);
        add_known(page, CIFS_RECONNECTS, &[target], *reconnects);
        for (op, count) in operations {
            page.count(CIFS_OPERATIONS, &[target, ("op", op.name())], *count);
        }
    }
    if let Some(netstat) = &host.netstat {
        let counters = &netstat.counters;
        add_known(page, SOFTNET, &[], netstat.softnet.map(|softnet| softnet.dropped));
        add_known(page, LISTEN_OVERFLOWS, &[], counters.listen_overflows);
        add_known(page, LISTEN_DROPS, &[], counters.listen_drops);
        add_known(page, RETRANSMITS, &[], counters.retransmits);
        add_known(page, KEEPALIVE_KILLS, &[], counters.aborts_on_timeout);
    }
    if let Some(logs) = &host.logs {
        for (pattern, matches) in &logs.matches {
            page.count(LOG_MATCHES, &[("pattern", pattern)], *matches);
        }
        page.count(LOG_SKIPPED_BYTES, &[], logs.totals.skipped_bytes);
        page.count(LOG_SKIPPED_FILES, &[], logs.skipped_files as u64);
        page.count(LOG_FAILURES, &[], logs.totals.failures);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a sysctl beyond 2^53 is a word for \"no limit\"")]
fn sysctls(page: &mut Page, host: &HostState, settings: &Settings) {
    for (name, expected) in &settings.expect.sysctls {
        if let SysctlValue::Number(number) = expected.value() {
            page.sample(SYSCTL_EXPECTED, &[("sysctl", name)], *number as f64);
        }
    }
    for verdict in tuning::sysctls(host, settings) {
        let Some(in_force) = verdict.in_force() else { continue };
        let label = ("sysctl", verdict.name);
        page.maybe(SYSCTL, &[label], verdict.found.and_then(Sysctl::number));
        page.count(SYSCTL_IN_FORCE, &[label], u64::from(in_force));
    }
}

fn iscsi(page: &mut Page, host: &HostState, target: &str) {
    let Some(sessions) = &host.iscsi else { return };
    for state in SessionState::ALL {
        let mine = sessions.iter().filter(|session| session.target.as_deref() == Some(target));
        let count = mine.filter(|session| session.value.state == *state).count();
        page.count(ISCSI_SESSIONS, &[("target", target), ("state", state.name())], count as u64);
    }
}

fn add_known(page: &mut Page, metric: Metric, labels: &[(&'static str, &str)], value: Option<u64>) {
    if let Some(value) = value {
        page.count(metric, labels, value);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests read what is on file")]
mod tests;
