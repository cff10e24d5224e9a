//! The node's storage: what its clients are connected to, by protocol.
//!
//! In: mounts and sessions. Out: [`Storage`], and where every protocol of [`PROTOCOLS`] goes. Must not: know more of a
//! protocol than what stands in its entry.

use std::net::IpAddr;

use monitor_model::host::iscsi::Session;
use monitor_model::host::mounts::{Family, Mounts, superblocks};
use monitor_model::snapshot::SourceState;

use super::iscsi::read_iscsi;
use super::mounts::read_mounts;
use super::targets::{HostTargets, host_targets};
use super::{Host, cifs, iscsi, nfs};
use crate::sources::read_source;

/// Every protocol there is a client of.
const PROTOCOLS: [&Protocol; 3] = [&cifs::PROTOCOL, &nfs::PROTOCOL, &iscsi::PROTOCOL];

/// A storage protocol, as far as its servers are concerned.
pub(super) struct Protocol {
    /// What its service is called at a target.
    pub(super) service: &'static str,
    /// Where its mounts or sessions go.
    pub(super) endpoints: for<'s> fn(&'s Storage) -> Vec<Endpoint<'s>>,
}

/// Where a mount or a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'s> {
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// What the mount calls its server; sessions have addresses only.
    pub(super) server: Option<&'s str>,
}

/// Where the node's storage is: what targets are made of, read before anything is counted by target.
#[derive(Debug, Default)]
pub struct Storage {
    pub(super) mounts: Option<Mounts>,
    pub(super) sessions: Option<Vec<Session>>,
    pub(super) sources: Vec<SourceState>,
}

impl Storage {
    /// Reads mounts and sessions.
    #[must_use]
    pub fn read(host: &Host) -> Self {
        let mut sources = Vec::new();
        let mounts = read_source(&mut sources, "mounts", || read_mounts(host));
        let sessions = read_source(&mut sources, "iscsi", || read_iscsi(host));
        Self { mounts, sessions, sources }
    }

    /// The servers they point at; `None` while a source cannot be read, so that a failure removes no target.
    #[must_use]
    pub fn targets(&self) -> Option<HostTargets> {
        let failed = self.sources.iter().any(|source| source.error.is_some());
        (!failed).then(|| host_targets(&self.endpoints()))
    }

    /// Where everything goes, with the name of its service.
    pub(super) fn endpoints(&self) -> Vec<(&'static str, Endpoint<'_>)> {
        let of = |protocol: &&Protocol| {
            let service = protocol.service;
            (protocol.endpoints)(self).into_iter().map(move |endpoint| (service, endpoint))
        };
        PROTOCOLS.iter().flat_map(of).collect()
    }

    /// Where the mounts of one kind of file system go, bind mounts of one superblock counted once.
    pub(super) fn mounted(&self, family: Family) -> Vec<Endpoint<'_>> {
        let mounts = self.mounts.as_ref().map(|mounts| mounts.mounts.as_slice()).unwrap_or_default();
        let mine = superblocks(mounts).into_iter().filter(|mount| mount.family == family);
        mine.map(|mount| Endpoint {
            address: mount.address,
            port: mount.port,
            server: Some(mount.server.as_str()),
        })
        .collect()
    }
}
