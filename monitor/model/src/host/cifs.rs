//! Health of the kernel's SMB client, as it was read.
//!
//! In: nothing. Out: servers, shares and operations. Must not: invent a field that the kernel did not print.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// Names, attributes, directories: what `actimeo` saves.
    Metadata,
    /// Contents: what `cache=loose` saves.
    Data,
    /// Opening, closing and leases.
    Session,
}

macro_rules! ops {
    ($($variant:ident, $label:literal, $line:literal, $kind:ident;)+) => {
        /// What the client asks of a share, SMB 2 and later.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $($variant,)+ }

        impl Op {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The label value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            #[must_use]
            pub const fn kind(self) -> OpKind {
                match self { $(Self::$variant => OpKind::$kind,)+ }
            }

            /// By its name in the kernel's statistics.
            #[must_use]
            pub fn of_line(name: &str) -> Option<Self> {
                match name { $($line => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

ops! {
    TreeConnect, "tree_connect", "TreeConnects", Session;
    TreeDisconnect, "tree_disconnect", "TreeDisconnects", Session;
    Create, "create", "Creates", Metadata;
    Close, "close", "Closes", Metadata;
    Flush, "flush", "Flushes", Data;
    Read, "read", "Reads", Data;
    Write, "write", "Writes", Data;
    Lock, "lock", "Locks", Data;
    Ioctl, "ioctl", "IOCTLs", Metadata;
    QueryDirectory, "query_directory", "QueryDirectories", Metadata;
    ChangeNotify, "change_notify", "ChangeNotifies", Session;
    QueryInfo, "query_info", "QueryInfos", Metadata;
    SetInfo, "set_info", "SetInfos", Metadata;
    OplockBreak, "oplock_break", "OplockBreaks", Session;
}

/// Sent and failed per operation; those the kernel did not list are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations(pub Vec<(Op, u64, u64)>);

impl Operations {
    /// How often, and how often it failed.
    #[must_use]
    pub fn get(&self, op: Op) -> Option<(u64, u64)> {
        self.0.iter().find(|(known, ..)| *known == op).map(|(_, total, failed)| (*total, *failed))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Op, u64, u64)> {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn total(&self, kind: OpKind) -> u64 {
        let totals = self.0.iter().filter(|(op, ..)| op.kind() == kind).map(|(_, total, _)| total);
        totals.fold(0, |sum: u64, total| sum.saturating_add(*total))
    }
}

/// One mounted share, since it was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub server: String,
    pub share: String,
    pub connected: bool,
    pub smbs: Option<u64>,
    pub bytes_read: Option<u64>,
    pub bytes_written: Option<u64>,
    pub open_files: Option<u64>,
    pub operations: Operations,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub sessions: Option<u64>,
    /// Tree connections, each session's own IPC$ included.
    pub share_mounts: Option<u64>,
    /// Requests waiting for an answer, over all servers.
    pub in_flight: Option<u64>,
    pub max_in_flight: Option<u64>,
    pub session_reconnects: Option<u64>,
    pub share_reconnects: Option<u64>,
    pub vfs_operations: Option<u64>,
    /// Answers that took longer than a second, by server; only kernels with `CONFIG_CIFS_STATS2` count them.
    pub slow_responses: Vec<(String, u64)>,
    pub shares: Vec<Share>,
}

use std::net::IpAddr;

/// `enum statusEnum` of the client, fs/smb/client/cifsglob.h; the same numbers from 5.18 to 6.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServerStatus {
    New,
    Good,
    Exiting,
    NeedReconnect,
    NeedNegotiate,
    InNegotiate,
    Other,
}

impl ServerStatus {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Good => "good",
            Self::Exiting => "exiting",
            Self::NeedReconnect => "need_reconnect",
            Self::NeedNegotiate => "need_negotiate",
            Self::InNegotiate => "in_negotiate",
            Self::Other => "other",
        }
    }

    /// By the number in the kernel.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Good,
            2 => Self::Exiting,
            3 => Self::NeedReconnect,
            4 => Self::NeedNegotiate,
            5 => Self::InNegotiate,
            _ => Self::Other,
        }
    }
}

/// One server the client talks to, over one TCP connection (its primary channel).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// The name or address of the mount, without a port.
    pub name: Option<String>,
    /// From the server's sessions; several for a server with several of them.
    pub addresses: Vec<IpAddr>,
    pub status: Option<ServerStatus>,
    /// Counts from 1, and up by one with every reconnect.
    pub instance: Option<u64>,
    /// `0x311` is SMB 3.1.1.
    pub dialect: Option<u64>,
    /// Requests the server would still take, for anything but echo and oplock breaks.
    pub credits: Option<u64>,
    /// Requests sent and not yet answered.
    pub in_flight: Option<u64>,
    pub sending: Option<u64>,
    /// Requests that wait for a credit.
    pub waiting_for_credits: Option<u64>,
    pub sessions: usize,
    /// Sessions or shares marked `DISCONNECTED`.
    pub disconnected: usize,
    pub shares: Vec<String>,
    /// Requests listed as pending: `in_flight` one by one.
    pub pending: usize,
}

impl Server {
    /// Reconnects since the server was first mounted.
    #[must_use]
    pub fn reconnects(&self) -> Option<u64> {
        self.instance.map(|instance| instance.saturating_sub(1))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cifs {
    pub stats: Stats,
    /// `None`: the kernel was built without `CONFIG_CIFS_DEBUG`, or we may not read `DebugData`.
    pub servers: Option<Vec<Server>>,
}

impl Cifs {
    /// The shares of one server, by the name or address the mounts use.
    pub fn shares_of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a Share> {
        self.stats.shares.iter().filter(move |share| share.server.eq_ignore_ascii_case(server))
    }

    /// Whether no more sessions are listed than the client says it has, which it prints before any name that others chose.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let listed: usize = self.servers.iter().flatten().map(|server| server.sessions).sum();
        self.stats.sessions.is_none_or(|sessions| listed as u64 <= sessions)
    }
}
