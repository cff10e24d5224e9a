//! The node apart from Cilium's maps: plain data.
//!
//! In: what the host's sources read. Out: one value that checks and outputs are functions of.
//! Must not: turn a source that is off or down into zeros: its part is `None`, the reason is in `Snapshot::sources`.

use crate::host::cifs::{Cifs, Op};
use crate::host::iscsi::Session;
use crate::host::logs;
use crate::host::mounts::{Mount, MountSource};
use crate::host::netstat::NetStat;
use crate::host::sockets::Socket;
use crate::host::sysctl::{FileHandles, Sysctl};

/// Everything the host's sources found.
#[derive(Clone, Debug, Default)]
pub struct HostState {
    /// The sysctls something is expected of; `None` while nothing is.
    pub sysctls: Option<SysctlState>,
    pub file_handles: Option<FileHandles>,
    pub netstat: Option<NetStat>,
    pub mounts: Option<MountState>,
    pub cifs: Option<CifsState>,
    pub iscsi: Option<Vec<Towards<Session>>>,
    pub sockets: Option<SocketState>,
    pub logs: Option<logs::LogCounts>,
    pub targets: HostTargetFacts,
}

/// Something that points at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Towards<T> {
    /// The target that has the server's address; `None` when none has, or the address is unknown.
    pub target: Option<String>,
    pub value: T,
}

/// The sysctls that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SysctlState {
    pub values: Vec<Sysctl>,
    /// This kernel has none of that name.
    pub absent: Vec<String>,
}

/// Network file systems, bind mounts of one superblock counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountState {
    pub source: MountSource,
    pub mounts: Vec<Towards<Mount>>,
}

/// The kernel's SMB client.
#[derive(Clone, Debug)]
pub struct CifsState {
    /// As the kernel prints it now.
    pub now: Cifs,
    /// Sums since the process began: they outlive the mounts they were counted on.
    pub targets: Vec<CifsTarget>,
}

/// One target as an SMB server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CifsTarget {
    pub target: String,
    /// `None`: the kernel does not list its servers.
    pub sessions: Option<u64>,
    pub reconnects: Option<u64>,
    /// Every operation, also at 0; empty until the target was seen to have a share.
    pub operations: Vec<(Op, u64)>,
}

/// TCP sockets of the node towards targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    pub sockets: Vec<TargetSocket>,
    /// Beyond the bound, in none of the counts.
    pub skipped: u64,
    /// Their description could not be decoded.
    pub undecoded: u64,
}

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSocket {
    pub target: String,
    pub service: String,
    pub socket: Socket,
}

/// Which servers of mounts and sessions did not become targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTargetFacts {
    /// Servers beyond the bound of targets from the host.
    pub skipped: usize,
    /// Mounts and sessions whose server's address is unknown.
    pub without_address: usize,
    /// Servers for which the tables have no room beside the configured targets.
    pub dropped: Vec<String>,
}

impl MountState {
    /// The mounts of one target.
    pub fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Mount> {
        self.mounts
            .iter()
            .filter(move |mount| mount.target.as_deref() == Some(target))
            .map(|mount| &mount.value)
    }
}

impl SocketState {
    /// The sockets of one target.
    pub fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a TargetSocket> {
        self.sockets.iter().filter(move |socket| socket.target == target)
    }
}
