//! The path to the storage servers, beside conntrack: sockets, sessions, what shares what.
//!
//! In: the host's part of a snapshot. Out: counts that alerts compare, and their evidence in plain words.
//! Must not: name a connection anywhere but in a finding: findings are read by people, not stored as labels.

use std::net::SocketAddr;
use std::time::Duration;

use monitor_config::Settings;
use monitor_model::duration;
use monitor_model::host::cifs::{Server, ServerStatus};
use monitor_model::host::iscsi::{Session, SessionState};
use monitor_model::host::mounts::{Family, Mount, MountSource, by_server};
use monitor_model::host::sockets::{Keepalive, TcpState, Timer};
use monitor_model::snapshot::{HostState, HostTargetFacts, Snapshot, TargetSocket};

use super::finding::{Finding, own};
use super::{Level, tuning};

/// A retransmitting socket that heard nothing for this long is stalled: far beyond any round trip, far below what
/// mounts wait before they do anything.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Connections and sessions named in one finding.
const NAMED: usize = 3;

/// Stalled sockets towards a target; `None` while sockets are unknown.
#[must_use]
pub fn stalled(host: &HostState, target: &str) -> Option<u64> {
    let sockets = host.sockets.as_ref()?;
    Some(sockets.of(target).filter(|socket| socket.socket.is_stalled(STALLED_AFTER)).count() as u64)
}

/// Sessions to a target that are not logged in; `None` while sessions are unknown.
#[must_use]
pub fn sessions_down(host: &HostState, target: &str) -> Option<u64> {
    let sessions = host.iscsi.as_ref()?;
    let down = sessions.iter().filter(|session| session.target.as_deref() == Some(target));
    Some(down.filter(|session| session.value.state != SessionState::LoggedIn).count() as u64)
}

/// How the established sockets to a target stand to keepalive.
#[must_use]
pub fn keepalive(host: &HostState, target: &str) -> Option<Keepalive> {
    Some(Keepalive::of(host.sockets.as_ref()?.of(target).map(|socket| &socket.socket)))
}

/// Evidence and advice of `CtmonStoragePathStalled`.
pub(super) fn explain_stalled(host: &HostState, target: &str) -> (String, String) {
    let Some(state) = &host.sockets else { return (String::new(), String::new()) };
    let all = state.of(target).count();
    let stalled: Vec<&TargetSocket> =
        state.of(target).filter(|socket| socket.socket.is_stalled(STALLED_AFTER)).collect();
    let named: Vec<String> = stalled.iter().take(NAMED).map(|socket| describe(socket)).collect();
    let evidence =
        format!("{} of {all} sockets repeat data and hear nothing: {}", stalled.len(), named.join("; "));
    let advice = "every mount and disk behind them hangs. Does the server answer a new connection from this node? \
                  If so only the old one is dead: CIFS reconnects after two missed echoes (echo_interval), iSCSI \
                  after its NOP time-out; keepalive sysctls change that only for sockets that use keepalive";
    (evidence, advice.to_owned())
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
    let silent = socket.silent_for().map(|silent| format!(", silent for {}", seconds(silent)));
    let silent = silent.unwrap_or_default();
    format!("{ends}{silent}, repeated {repeated} times, {} bytes unacknowledged", socket.send_queue)
}

/// Evidence and advice of `CtmonIscsiSessionDown`.
pub(super) fn explain_sessions(host: &HostState, target: &str) -> (String, String) {
    let down: Vec<&Session> = host
        .iscsi
        .iter()
        .flatten()
        .filter(|session| session.target.as_deref() == Some(target))
        .map(|session| &session.value)
        .filter(|session| session.state != SessionState::LoggedIn)
        .collect();
    let named: Vec<String> = down.iter().take(NAMED).map(|session| describe_session(session)).collect();
    let evidence = format!("{} iSCSI sessions are not logged in: {}", down.len(), named.join("; "));
    let advice = if down.iter().any(|session| session.state == SessionState::Free) {
        "the recovery time-out is over: requests fail with input/output errors and file systems turn read-only. Bring \
         the portal back, then delete the pods that use the disks, so that they are attached and checked anew"
    } else {
        "requests wait until the session is back or its recovery time-out is over, then they fail: see that the \
         portal answers from this node"
    };
    (evidence, advice.to_owned())
}

fn describe_session(session: &Session) -> String {
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

/// What is worth knowing of the path while no alert fires.
pub(super) fn circumstances(snapshot: &Snapshot, settings: &Settings) -> Vec<Finding> {
    let host = &snapshot.host;
    let mut all: Vec<Finding> =
        snapshot.target_names().filter_map(|target| unused_keepalive(host, settings, target)).collect();
    all.extend(host.cifs.iter().flat_map(|cifs| cifs.now.servers.iter().flatten()).filter_map(cifs_server));
    all.extend(shared_connections(host));
    all.extend(strange_targets(&host.targets));
    if host.mounts.as_ref().is_some_and(|mounts| mounts.source == MountSource::Own) {
        let evidence = "the mounts of pid 1 cannot be read: these are the ones ctmon sees itself";
        all.push(own("mounts", Level::Info, evidence, "mount the node's /proc and name it with --procfs"));
    }
    if let Some(sockets) = host.sockets.as_ref().filter(|sockets| sockets.skipped + sockets.undecoded > 0) {
        let evidence = format!(
            "{} sockets towards targets are beyond the bound, {} could not be read: they are in no count",
            sockets.skipped, sockets.undecoded
        );
        all.push(own("sockets", Level::Info, &evidence, ""));
    }
    if let Some(logs) = host.logs.as_ref().filter(|logs| logs.skipped_files > 0 || logs.totals.failures > 0) {
        let evidence = format!(
            "of the pod logs that are selected {} files are beyond the bound, {} could not be read",
            logs.skipped_files, logs.totals.failures
        );
        all.push(own("logs", Level::Info, &evidence, "narrow the patterns' namespaces, pods and containers"));
    }
    all
}

/// "The sysctl is in force, and 0 of N sockets use it."
fn unused_keepalive(host: &HostState, settings: &Settings, target: &str) -> Option<Finding> {
    let believed = tuning::sysctls(host, settings).into_iter().find(|verdict| {
        verdict.name.starts_with("net.ipv4.tcp_keepalive_") && verdict.in_force() == Some(true)
    })?;
    let Keepalive { using, not_using, unknown } = keepalive(host, target)?;
    if not_using == 0 {
        return None;
    }
    let hidden = match unknown {
        0 => String::new(),
        _ => format!(" ({unknown} cannot be told now: another timer hides it)"),
    };
    let evidence = format!(
        "{} is in force, but {using} of {} sockets to {target} use keepalive{hidden}",
        believed.name,
        using + not_using + unknown
    );
    let advice = "the sysctl acts only on sockets whose owner asked for keepalive; what notices a dead server is \
                  echo_interval for CIFS, the NOP time-out for iSCSI, timeo and retrans for NFS";
    Some(Finding { target: target.to_owned(), ..own("keepalive", Level::Info, &evidence, advice) })
}

fn cifs_server(server: &Server) -> Option<Finding> {
    let status = server.status.filter(|status| *status != ServerStatus::Good);
    let reconnects = server.reconnects().unwrap_or(0);
    if status.is_none() && server.disconnected == 0 && reconnects == 0 {
        return None;
    }
    let name = server.name.as_deref().unwrap_or("a server without a name");
    let in_flight =
        server.in_flight.map(|count| format!(", {count} requests unanswered")).unwrap_or_default();
    let evidence = format!(
        "SMB client to {name}: {}, {} sessions, {} of sessions and shares disconnected, {reconnects} reconnects \
         since it was mounted{in_flight}",
        server.status.map_or("status unknown", ServerStatus::name),
        server.sessions,
        server.disconnected
    );
    if status.is_some() || server.disconnected > 0 {
        let advice = "files on its shares hang or fail until the session is back: see that port 445 answers from this \
                      node, and `dmesg | grep CIFS`";
        Some(own("cifs_session", Level::Warning, &evidence, advice))
    } else {
        Some(own(
            "cifs_session",
            Level::Info,
            &evidence,
            "CtmonCifsReconnecting fires when they come in a row",
        ))
    }
}

/// One connection for several mounts: what hangs one hangs all.
fn shared_connections(host: &HostState) -> Vec<Finding> {
    let Some(state) = &host.mounts else { return Vec::new() };
    let target_of = |mount: &Mount| {
        let found = state.mounts.iter().find(|known| known.value == *mount);
        found.and_then(|known| known.target.clone()).unwrap_or_default()
    };
    let sharing: Vec<Mount> =
        state.mounts.iter().map(|mount| &mount.value).filter(|mount| may_share(mount)).cloned().collect();
    by_server(&sharing)
        .into_iter()
        .filter(|(_, mounts)| mounts.len() > 1)
        .map(|(server, mounts)| {
            let sources: Vec<&str> = mounts.iter().map(|mount| mount.source.as_str()).collect();
            let evidence =
                format!("{} mounts of {server} share one connection: {}", mounts.len(), sources.join(", "));
            let remedy = match mounts.first().map(|mount| mount.family) {
                Some(Family::Cifs) => "the mount option nosharesock gives each its own",
                _ => "the mount option nconnect gives them several",
            };
            let advice = format!("when it hangs, all of them hang; {remedy}");
            let target = mounts.first().map(|mount| target_of(mount)).unwrap_or_default();
            Finding { target, ..own("shared_connection", Level::Info, &evidence, &advice) }
        })
        .collect()
}

fn may_share(mount: &Mount) -> bool {
    let alone = |option: &String| {
        let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
        matches!(name, "nosharesock" | "nconnect" | "multichannel")
    };
    !mount.options.iter().any(alone)
}

fn strange_targets(facts: &HostTargetFacts) -> Option<Finding> {
    let HostTargetFacts { skipped, without_address, dropped } = facts;
    let mut told = Vec::new();
    if *skipped > 0 {
        told.push(format!("{skipped} servers are beyond the bound"));
    }
    if *without_address > 0 {
        told.push(format!("{without_address} mounts or sessions have no known address"));
    }
    if !dropped.is_empty() {
        told.push(format!("the tables have no room for {}", dropped.join(", ")));
    }
    (!told.is_empty()).then(|| {
        let advice = "name them under `targets`, or set `targets_from_host: false`";
        own("targets_from_host", Level::Info, &told.join("; "), advice)
    })
}

fn seconds(time: Duration) -> String {
    duration::format(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests;
