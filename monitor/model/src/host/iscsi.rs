//! iSCSI sessions.
//!
//! In: the kernel's names. Out: [`Session`]. Must not: hold the CHAP names.

use std::net::IpAddr;

/// A session's state as `scsi_transport_iscsi` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    LoggedIn,
    /// The connection is lost, requests wait for it until `recovery_tmo` is over.
    Failed,
    /// `recovery_tmo` is over: requests fail with an input/output error.
    Free,
    /// A state this program does not know.
    Other,
}

impl SessionState {
    pub const ALL: &[Self] = &[Self::LoggedIn, Self::Failed, Self::Free, Self::Other];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoggedIn => "logged_in",
            Self::Failed => "failed",
            Self::Free => "free",
            Self::Other => "other",
        }
    }

    /// By the kernel's name.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "LOGGED_IN" => Self::LoggedIn,
            "FAILED" => Self::Failed,
            "FREE" => Self::Free,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The configured portal: stays while the connection is lost.
    pub portal: Option<(IpAddr, u16)>,
    /// The peer of the socket, `None` while there is none.
    pub connected_to: Option<IpAddr>,
    /// `up`, `down` or `failed`; `None` on kernels before 5.7.
    pub state: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `session1`.
    pub name: String,
    pub state: SessionState,
    pub target: Option<String>,
    /// Seconds a lost connection may take to come back before requests fail; negative is for ever.
    pub recovery_timeout: Option<i64>,
    pub connections: Vec<Connection>,
}

impl Session {
    /// The portal of its first connection.
    #[must_use]
    pub fn portal(&self) -> Option<(IpAddr, u16)> {
        self.connections.iter().find_map(|connection| connection.portal)
    }
}
