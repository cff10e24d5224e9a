//! The path to the storage servers, beside conntrack: sockets, sessions, what shares what.
//!
//! In: the host's part of a snapshot. Out: counts that alerts compare, and their evidence in plain words.
//! Must not: name a connection anywhere but in a finding: findings are read by people, not stored as labels.

use std::time::Duration;

use monitor_config::Settings;
use monitor_model::host::cifs::{Server, ServerStatus};
use monitor_model::host::iscsi::{Session, SessionState};
use monitor_model::host::mounts::{Mount, MountSource, by_server};
use monitor_model::host::sockets::Keepalive;
use monitor_model::snapshot::{HostState, HostTargetFacts, Snapshot};

use crate::alerts::cifs_reconnecting::CIFS_RECONNECTING;
use crate::finding::{Finding, Level, own};
use crate::tuning;

/// A retransmitting socket that heard nothing for this long is stalled: far beyond any round trip, far below what
/// mounts wait before they do anything.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Connections and sessions named in one finding.
pub(crate) const NAMED: usize = 3;

/// Stalled sockets towards a target; `None` while sockets are unknown.
#[must_use]
pub fn stalled(host: &HostState, target: &str) -> Option<u64> {
    let sockets = host.sockets.as_ref()?;
    Some(sockets.of(target).filter(|socket| socket.socket.is_stalled(STALLED_AFTER)).count() as u64)
}

/// Sessions to a target that are not logged in; `None` while sessions are unknown.
pub(crate) fn sessions_down<'a>(
    host: &'a HostState,
    target: &str,
) -> Option<impl Iterator<Item = &'a Session>> {
    let mine = host.iscsi.as_ref()?.iter().filter(move |session| session.target.as_deref() == Some(target));
    Some(mine.map(|session| &session.value).filter(|session| session.state != SessionState::LoggedIn))
}

/// How the established sockets to a target stand to keepalive.
#[must_use]
pub fn keepalive(host: &HostState, target: &str) -> Option<Keepalive> {
    Some(Keepalive::of(host.sockets.as_ref()?.of(target).map(|socket| &socket.socket)))
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
        all.push(own("mounts", Level::INFO, evidence, "mount the node's /proc and name it with --procfs"));
    }
    if let Some(sockets) = host.sockets.as_ref().filter(|sockets| sockets.skipped + sockets.undecoded > 0) {
        let evidence = format!(
            "{} sockets towards targets are beyond the bound, {} could not be read: they are in no count",
            sockets.skipped, sockets.undecoded
        );
        all.push(own("sockets", Level::INFO, &evidence, ""));
    }
    if let Some(logs) = host.logs.as_ref().filter(|logs| logs.skipped_files > 0 || logs.totals.failures > 0) {
        let evidence = format!(
            "of the pod logs that are selected {} files are beyond the bound, {} could not be read",
            logs.skipped_files, logs.totals.failures
        );
        all.push(own("logs", Level::INFO, &evidence, "narrow the patterns' namespaces, pods and containers"));
    }
    all
}

/// "The sysctl is in force, and 0 of N sockets use it."
fn unused_keepalive(host: &HostState, settings: &Settings, target: &str) -> Option<Finding> {
    let in_force = tuning::sysctls(host, settings).into_iter().find(|verdict| {
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
        in_force.name,
        using + not_using + unknown
    );
    let advice = "the sysctl acts only on sockets whose owner asked for keepalive; what notices a dead server is \
                  echo_interval for CIFS, the NOP time-out for iSCSI, timeo and retrans for NFS";
    Some(Finding { target: target.to_owned(), ..own("keepalive", Level::INFO, &evidence, advice) })
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
        Some(own("cifs_session", Level::WARNING, &evidence, advice))
    } else {
        Some(own(
            "cifs_session",
            Level::INFO,
            &evidence,
            &format!("{} fires when they come in a row", CIFS_RECONNECTING.alert.name),
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
            let remedy = mounts.first().map_or("", |mount| mount.family.sharing_advice);
            let advice = format!("when it hangs, all of them hang; {remedy}");
            let target = mounts.first().map(|mount| target_of(mount)).unwrap_or_default();
            Finding { target, ..own("shared_connection", Level::INFO, &evidence, &advice) }
        })
        .collect()
}

fn may_share(mount: &Mount) -> bool {
    let alone = |option: &String| {
        let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
        mount.family.own_connection.contains(&name)
    };
    !mount.options.iter().any(alone)
}

fn strange_targets(facts: &HostTargetFacts) -> Option<Finding> {
    let HostTargetFacts { skipped, without_address, dropped } = facts;
    let mut reasons = Vec::new();
    if *skipped > 0 {
        reasons.push(format!("{skipped} servers are beyond the bound"));
    }
    if *without_address > 0 {
        reasons.push(format!("{without_address} mounts or sessions have no known address"));
    }
    if !dropped.is_empty() {
        reasons.push(format!("the tables have no room for {}", dropped.join(", ")));
    }
    (!reasons.is_empty()).then(|| {
        let advice = "name them under `targets`, or set `targets_from_host: false`";
        own("targets_from_host", Level::INFO, &reasons.join("; "), advice)
    })
}

#[cfg(test)]
mod tests;
