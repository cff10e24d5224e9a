//! One reading of the whole host, again and again.
//!
//! In: the roots, what is wanted, the targets to which addresses belong. Out: [`HostState`] and how each source
//! fared; one that is off is not listed. Must not: let one source's failure hide another, or wait on a server: all
//! of it comes from the kernel's memory and local files.

use std::net::IpAddr;
use std::time::Duration;

use super::cifs::{CifsSums, read_cifs};
use super::iscsi::{Session, read_iscsi};
use super::logs::{Limits, LogCounter};
use super::mounts::{Mounts, read_mounts, superblocks};
use super::netstat::read_netstat;
use super::sockets::read_sockets;
use super::sysctl::{Sysctls, read_file_handles, read_sysctls};
use super::targets::{HostTargets, host_targets};
use super::{Host, HostError, Sample};
use crate::config::LogPattern;
use crate::snapshot::{
    CifsState, HostState, HostTargetFacts, MountState, SocketState, SourceState, SysctlState, TargetSocket,
    Towards,
};
use crate::source::bpf::sys;
use crate::source::cilium::target::TargetIndex;

/// What is read of the host beside what is always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether servers of mounts and sessions become targets.
    pub targets: bool,
    /// By dotted name.
    pub sysctls: Vec<String>,
    /// Counted in pod logs.
    pub logs: Vec<LogPattern>,
}

/// Reads the host, and remembers what only time tells.
#[derive(Debug, Default)]
pub struct HostCollector {
    logs: Option<LogCounter>,
    cifs: CifsSums,
}

/// Where the node's storage is: what targets are made of, read before anything is counted by target.
#[derive(Debug, Default)]
pub struct Storage {
    mounts: Option<Mounts>,
    sessions: Option<Vec<Session>>,
    sources: Vec<SourceState>,
}

impl Storage {
    /// Reads mounts and sessions.
    #[must_use]
    pub fn read(host: &Host) -> Self {
        let mut sources = Vec::new();
        let mounts = timed(&mut sources, "mounts", || read_mounts(host));
        let sessions = timed(&mut sources, "iscsi", || read_iscsi(host));
        Self { mounts, sessions, sources }
    }

    /// The servers they point at; `None` while either cannot be read, so that a failure removes no target.
    #[must_use]
    pub fn targets(&self) -> Option<HostTargets> {
        let mounts = self.mounts.as_ref().map(|mounts| mounts.mounts.as_slice()).unwrap_or_default();
        let failed = self.sources.iter().any(|source| source.error.is_some());
        (!failed).then(|| host_targets(mounts, self.sessions.as_deref().unwrap_or_default()))
    }
}

impl HostCollector {
    /// Counts these patterns from the next reading on; what is known of those that stay is kept.
    pub fn follow_logs(&mut self, patterns: &[LogPattern]) {
        let result = match &mut self.logs {
            Some(counter) => counter.follow(patterns),
            None => LogCounter::new(patterns, Limits::default()).map(|counter| self.logs = Some(counter)),
        };
        if let Err(error) = result {
            tracing::error!(%error, "failed to prepare the log patterns");
        }
    }

    /// Reads everything else, and says which target each thing belongs to.
    pub fn collect(
        &mut self,
        host: &Host,
        wanted: &Wanted,
        storage: Storage,
        targets: &TargetIndex,
        facts: HostTargetFacts,
        sources: &mut Vec<SourceState>,
    ) -> HostState {
        let Storage { mounts, sessions, sources: mut known } = storage;
        sources.append(&mut known);
        let mounts = mounts.map(|Mounts { source, mounts }| MountState {
            source,
            mounts: superblocks(&mounts)
                .into_iter()
                .map(|mount| Towards { target: name_of(targets, mount.address), value: mount.clone() })
                .collect(),
        });
        let cifs = timed(sources, "cifs", || read_cifs(host));
        let cifs = cifs.map(|now| CifsState { targets: self.cifs.add(&now, mounts.as_ref(), targets), now });
        let iscsi = sessions.map(|sessions| {
            let towards = |session: Session| Towards {
                target: name_of(targets, session.portal().map(|(address, _)| address)),
                value: session,
            };
            sessions.into_iter().map(towards).collect()
        });
        HostState {
            sysctls: timed(sources, "sysctl", || wanted_sysctls(host, &wanted.sysctls)),
            file_handles: timed(sources, "file_handles", || read_file_handles(host)),
            netstat: timed(sources, "netstat", || read_netstat(host)),
            sockets: timed(sources, "sockets", || target_sockets(targets)),
            logs: timed(sources, "logs", || self.logs.as_mut().map_or(Ok(None), |logs| logs.read(host))),
            mounts,
            cifs,
            iscsi,
            targets: facts,
        }
    }
}

/// Reads a source and notes how it fared; one that is off is not noted.
fn timed<T>(
    sources: &mut Vec<SourceState>,
    name: &'static str,
    read: impl FnOnce() -> Sample<T>,
) -> Option<T> {
    let begun = sys::monotonic();
    let read = read();
    let duration: Duration = sys::monotonic().saturating_sub(begun);
    let (found, error) = match read {
        Ok(None) => return None,
        Ok(found) => (found, None),
        Err(error) => (None, Some(error.to_string())),
    };
    sources.push(SourceState { name, duration, error });
    found
}

/// A name that fails makes the source fail: its value would be missing without a reason.
fn wanted_sysctls(host: &Host, names: &[String]) -> Sample<SysctlState> {
    if names.is_empty() {
        return Ok(None);
    }
    let Sysctls { values, absent, failed } = read_sysctls(host, names.iter().map(String::as_str));
    match failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(Some(SysctlState { values, absent })),
    }
}

/// Without targets there is nothing to look for.
fn target_sockets(targets: &TargetIndex) -> Sample<SocketState> {
    if targets.targets().is_empty() {
        return Ok(None);
    }
    let found =
        read_sockets(|remote| targets.target_of(remote.to_canonical()).is_some()).map_err(HostError::from)?;
    let sockets = found.sockets.into_iter().filter_map(|socket| {
        let (target, service) =
            targets.names_of_tcp(socket.remote.ip().to_canonical(), socket.remote.port())?;
        Some(TargetSocket { target: target.to_owned(), service: service.to_owned(), socket })
    });
    Ok(Some(SocketState { sockets: sockets.collect(), skipped: found.skipped, undecoded: found.undecoded }))
}

/// The name of the target that has this address.
fn name_of(targets: &TargetIndex, address: Option<IpAddr>) -> Option<String> {
    let target = targets.targets().get(targets.target_of(address?.to_canonical())?)?;
    Some(target.name.clone())
}
