//! The node's storage: what its clients are connected to.
//!
//! In: mounts and sessions. Out: [`Storage`], and where all of it goes, with the name of its service. Must not: know more of
//! a file system than its [`Family`](monitor_model::host::mounts::Family) says.

use monitor_model::host::iscsi::Session;
use monitor_model::host::mounts::{Mount, Mounts, superblocks};
use monitor_model::snapshot::SourceState;

use super::Host;
use super::endpoint::Endpoint;
use super::iscsi::read_iscsi;
use super::mounts::read_mounts;
use super::targets::{HostTargets, host_targets};
use crate::sources::read_source;

/// Where the node's storage is: what targets are made of, read before anything is counted by target.
#[derive(Debug, Default)]
pub struct Storage {
    pub(super) mounts: Option<Mounts>,
    pub(super) iscsi: Option<Vec<Session>>,
    pub(super) sources: Vec<SourceState>,
}

impl Storage {
    /// Reads mounts and sessions.
    #[must_use]
    pub fn read(host: &Host) -> Self {
        let mut sources = Vec::new();
        let mounts = read_source(&mut sources, "mounts", || read_mounts(host));
        let iscsi = read_source(&mut sources, "iscsi", || read_iscsi(host));
        Self { mounts, iscsi, sources }
    }

    /// The servers they point at; `None` while a source cannot be read, so that a failure removes no target.
    #[must_use]
    pub fn targets(&self) -> Option<HostTargets> {
        let failed = self.sources.iter().any(|source| source.error.is_some());
        (!failed).then(|| host_targets(&self.endpoints()))
    }

    /// Bind mounts of one superblock count once.
    fn endpoints(&self) -> Vec<Endpoint<'_>> {
        let mounts = self.mounts.as_ref().map(|mounts| mounts.mounts.as_slice()).unwrap_or_default();
        let mounts = superblocks(mounts).into_iter().map(of_mount);
        mounts.chain(self.iscsi.iter().flatten().map(of_session)).collect()
    }
}

fn of_mount(mount: &Mount) -> Endpoint<'_> {
    Endpoint {
        service: mount.family.service,
        address: mount.address,
        port: mount.port,
        server: Some(mount.server.as_str()),
    }
}

fn of_session(session: &Session) -> Endpoint<'_> {
    let (address, port) = session.portal().unzip();
    Endpoint { service: "iscsi", address, port: port.unwrap_or(0), server: None }
}
