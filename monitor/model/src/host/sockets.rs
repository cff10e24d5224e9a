//! TCP sockets towards storage, as they were read.
//!
//! In: nothing. Out: state, queues and silence of a [`Socket`]. Must not: show more of a socket than that.

use std::net::SocketAddr as Endpoint;
use std::time::Duration;

use crate::host::tcp_info::TcpInfo;

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

    /// By the number in the kernel.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
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
    /// Sockets that matched beyond the limit, and are in none of the counts; those in `TIME_WAIT` apart.
    pub skipped: u64,
    pub skipped_ended: u64,
    /// Sockets whose description could not be decoded.
    pub undecoded: u64,
}

impl Sockets {
    /// The sockets that are silent and retransmitting.
    pub fn stalled(&self, silence: Duration) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| socket.is_stalled(silence))
    }
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
    /// How many established connections have keepalive on: the sysctls alone turn it on for none.
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
