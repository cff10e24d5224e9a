//! One `sock_diag` dump of TCP sockets.
//!
//! In: an address family. Out: every socket, decoded, to a callback. Must not: decide what is kept.

use std::io;

use monitor_decode::host::sock_diag::{DatagramError, Progress, parse_datagram};
use monitor_model::host::sockets::Socket;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket as Netlink, SocketAddr};

use super::SocketsError;

#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn request(self) -> InetRequest {
        let (family, socket_id) = match self {
            Self::V4 => (AF_INET, SocketId::new_v4()),
            Self::V6 => (AF_INET6, SocketId::new_v6()),
        };
        InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            // Listeners have no remote, and a closed socket has no connection.
            states: StateFlags::all() - StateFlags::LISTEN - StateFlags::CLOSE,
            socket_id,
        }
    }
}

/// The kernel builds dumps in parts of at most 32 KiB, however large the reader's buffer.
const DATAGRAM: usize = 64 << 10;

/// Gives every socket of the family to `keep`; `None` for one that could not be decoded.
pub(super) fn dump(family: Family, keep: &mut dyn FnMut(Option<Socket>)) -> Result<(), SocketsError> {
    let netlink = |operation| move |source| SocketsError::Netlink { operation, source };
    let socket = Netlink::new(NETLINK_SOCK_DIAG).map_err(netlink("open"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(netlink("connect"))?;
    // The kernel queues the next part of a dump while we read: an answer is there or never comes.
    socket.set_non_blocking(true).map_err(netlink("configure"))?;

    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut request = NetlinkMessage::new(header, SockDiagMessage::InetRequest(family.request()).into());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0).map_err(netlink("send to"))?;

    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        datagram.clear();
        socket.recv(&mut datagram, 0).map_err(netlink("receive from"))?;
        match parse_datagram(&datagram, keep).map_err(|error| refused(family, error))? {
            Progress::Done => return Ok(()),
            Progress::More if datagram.is_empty() => {
                return Err(SocketsError::Protocol {
                    family: family.name(),
                    reason: "an empty answer".to_owned(),
                });
            }
            Progress::More => {}
        }
    }
}

/// What the kernel answered instead of sockets.
fn refused(family: Family, error: DatagramError) -> SocketsError {
    let family = family.name();
    match error {
        DatagramError::Refused { errno } => {
            SocketsError::Refused { family, source: io::Error::from_raw_os_error(errno) }
        }
        DatagramError::Broken { reason } => SocketsError::Protocol { family, reason },
    }
}

/// The first dump in a file of `ss -D`, IPv4.
#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    reason = "for tests"
)]
pub fn captured(name: &str) -> [Socket; 2] {
    let mut sockets = Vec::new();
    let bytes = super::super::testing::fixture(&format!("sockets/{name}"));
    let done = parse_datagram(&bytes, &mut |socket| sockets.push(socket.expect("decoded")));
    assert_eq!(done.unwrap(), Progress::Done);
    sockets.sort_by_key(|socket| socket.remote.port());
    sockets.try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_errno_and_what_to_do() {
        // An NLMSG_ERROR for the request that follows it, as the kernel sends it for a missing tcp_diag.
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-libc::ENOENT).to_ne_bytes());
        bytes.extend([0; 16]);
        let error = refused(Family::V4, parse_datagram(&bytes, &mut |_| {}).unwrap_err());
        assert!(
            matches!(&error, SocketsError::Refused { source, .. } if source.raw_os_error() == Some(libc::ENOENT))
        );
        assert!(error.to_string().ends_with("load module tcp_diag"), "{error}");
    }
}
