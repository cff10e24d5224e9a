//! The node's TCP sockets towards its storage servers.
//!
//! In: netlink `sock_diag` with `tcp_info`, for our network namespace (the node's, with `hostNetwork`). Out:
//! [`Sockets`]: at most [`MAX_SOCKETS`] of them in detail, everything beyond counted. Must not: ask per socket, or
//! show more of a socket than its addresses, its state and its silence.
//!
//! The kernel's own clients (CIFS, NFS, iSCSI) appear here too. That an option `SO_KEEPALIVE` is set is not
//! reported by the kernel; the timer it needs is: see [`Socket::uses_keepalive`].

use std::io;
use std::net::{IpAddr, SocketAddr as Endpoint};
use std::time::Duration;

mod netlink;
mod tcp_info;

#[cfg(test)]
pub(crate) use netlink::captured;
use netlink::dump;
pub use tcp_info::TcpInfo;

/// Sockets kept in detail per reading: a node has a handful towards storage.
pub const MAX_SOCKETS: usize = 256;

/// States as in the kernel's `tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    pub const ALL: &[Self] = &[
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::FinWait1 => "fin_wait1",
            Self::FinWait2 => "fin_wait2",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| *state as u8 == number)
    }
}

/// The one timer the kernel reports per socket; an earlier line hides a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Data or a SYN is unanswered; the number of repetitions so far.
    Retransmit {
        expires: Duration,
        retransmits: u8,
    },
    /// The peer's window is closed.
    WindowProbe {
        expires: Duration,
    },
    /// `SO_KEEPALIVE` is set and nothing else is due.
    KeepAlive {
        expires: Duration,
    },
    TimeWait,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub state: TcpState,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub timer: Option<Timer>,
    /// 0 for kernel sockets of some clients and for `TIME_WAIT`.
    pub inode: u32,
    /// Bytes received and not yet read; bytes sent and not yet acknowledged.
    pub receive_queue: u32,
    pub send_queue: u32,
    /// Absent for `TIME_WAIT` and for sockets of a half-open handshake.
    pub info: Option<TcpInfo>,
}

impl Socket {
    /// Whether keepalive is on: known only while no other timer hides the answer.
    #[must_use]
    pub fn uses_keepalive(&self) -> Option<bool> {
        match (self.state, self.timer) {
            (_, Some(Timer::KeepAlive { .. })) => Some(true),
            (TcpState::Established | TcpState::CloseWait, None) => Some(false),
            _ => None,
        }
    }

    /// How long nothing at all arrived from the peer.
    #[must_use]
    pub fn silent_for(&self) -> Option<Duration> {
        self.info.map(TcpInfo::silent_for)
    }

    /// The earliest sign of a dead path: something was sent, it is being repeated, and nothing has come back for
    /// at least `silence`. A connection that still waits for the answer to its SYN counts as soon as it repeats.
    #[must_use]
    pub fn is_stalled(&self, silence: Duration) -> bool {
        let repeating = match self.timer {
            Some(Timer::Retransmit { retransmits, .. }) => retransmits > 0,
            _ => false,
        } || self.info.is_some_and(|info| info.retransmits > 0);
        match self.state {
            TcpState::SynSent => repeating,
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::LastAck => {
                repeating && self.silent_for().is_some_and(|silent| silent >= silence)
            }
            _ => false,
        }
    }
}

/// One reading of the sockets towards a set of remote addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    pub sockets: Vec<Socket>,
    /// Sockets that matched beyond [`MAX_SOCKETS`], and are in none of the counts; those in `TIME_WAIT` apart.
    pub skipped: u64,
    pub skipped_ended: u64,
    /// Sockets whose description could not be decoded.
    pub undecoded: u64,
}

/// How many sockets to one remote are in which condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    pub using: u64,
    pub not_using: u64,
    /// Another timer hides the answer.
    pub unknown: u64,
}

impl Keepalive {
    /// "The sysctl is in force, and 0 of N sockets use it": over connections that stay, not handshakes.
    #[must_use]
    pub fn of<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Self {
        let mut keepalive = Self::default();
        for socket in sockets.into_iter().filter(|socket| socket.state == TcpState::Established) {
            match socket.uses_keepalive() {
                Some(true) => keepalive.using += 1,
                Some(false) => keepalive.not_using += 1,
                None => keepalive.unknown += 1,
            }
        }
        keepalive
    }
}

impl Sockets {
    /// The sockets that are silent and retransmitting.
    pub fn stalled(&self, silence: Duration) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| socket.is_stalled(silence))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("failed to {operation} a sock_diag socket: {source}{}", hint(source))]
    Netlink { operation: &'static str, source: io::Error },
    #[error("failed to dump {family} sockets: {source}{}", hint(source))]
    Refused { family: &'static str, source: io::Error },
    #[error("failed to dump {family} sockets: {reason}")]
    Protocol { family: &'static str, reason: String },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ": a seccomp or LSM policy forbids netlink sock_diag here",
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => {
            ": this kernel has no tcp_diag: load module tcp_diag"
        }
        Some(libc::EAGAIN) => ": the kernel did not answer in time",
        _ => "",
    }
}

/// TCP sockets of our network namespace whose remote address `wanted` accepts (listeners have none). Those in
/// `TIME_WAIT` get what room the others leave: a client that reconnects in a loop leaves hundreds behind, and they
/// must not hide the one connection that matters.
pub fn read_sockets(wanted: impl Fn(IpAddr) -> bool) -> Result<Sockets, SocketsError> {
    let (mut sockets, mut ended) = (Sockets::default(), Vec::new());
    let mut keep = |socket: Option<Socket>| {
        let Some(socket) = socket else {
            sockets.undecoded += 1;
            return;
        };
        if !wanted(socket.remote.ip()) {
            return;
        }
        let (kept, skipped) = if socket.state == TcpState::TimeWait {
            (&mut ended, &mut sockets.skipped_ended)
        } else {
            (&mut sockets.sockets, &mut sockets.skipped)
        };
        if kept.len() < MAX_SOCKETS { kept.push(socket) } else { *skipped += 1 }
    };
    dump(netlink::Family::V4, &mut keep)?;
    match dump(netlink::Family::V6, &mut keep) {
        Ok(()) => {}
        // A kernel started with ipv6.disable=1 has no handler for the family: nothing is missing then.
        Err(SocketsError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let room = MAX_SOCKETS - sockets.sockets.len();
    sockets.skipped_ended += ended.len().saturating_sub(room) as u64;
    sockets.sockets.extend(ended.into_iter().take(room));
    Ok(sockets)
}

#[cfg(test)]
mod tests;
