//! One `sock_diag` dump of TCP sockets.
//!
//! In: an address family. Out: every socket, decoded, to a callback. Must not: decide what is kept.

use std::io;
use std::net::SocketAddr as Endpoint;

use monitor_model::host::sockets::{Socket, TcpState, Timer};
use monitor_model::host::tcp_info::TcpInfo;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer as DiagTimer,
};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};
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

/// What one datagram of the answer said about the dump as a whole.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

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
        match parse_datagram(family, &datagram, keep)? {
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

/// One datagram: any number of messages.
fn parse_datagram(
    family: Family,
    mut bytes: &[u8],
    keep: &mut dyn FnMut(Option<Socket>),
) -> Result<Progress, SocketsError> {
    let broken = |reason: String| SocketsError::Protocol { family: family.name(), reason };
    while !bytes.is_empty() {
        let frame = split_message(&mut bytes)
            .ok_or_else(|| broken("a message longer than its datagram".to_owned()))?;
        let message =
            NetlinkMessage::<Inet>::deserialize(frame).map_err(|error| broken(error.to_string()))?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(Progress::Done),
            NetlinkPayload::Error(error) => match error.code {
                None => return Ok(Progress::Done),
                Some(code) => {
                    let source = io::Error::from_raw_os_error(code.get().saturating_abs());
                    return Err(SocketsError::Refused { family: family.name(), source });
                }
            },
            NetlinkPayload::InnerMessage(Inet(response)) => keep(response.as_deref().and_then(decode)),
            _ => {}
        }
    }
    Ok(Progress::More)
}

/// Cuts one message off its datagram by its own length, which the library takes on trust.
fn split_message<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    const HEADER: usize = 16;
    let length = u32::from_ne_bytes(*bytes.first_chunk::<4>()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
    let message = bytes.get(..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(message)
}

/// An answer, `None` when the library cannot read it: one odd socket must not end the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inet(Option<Box<InetResponse>>);

impl NetlinkDeserializable for Inet {
    type Error = netlink_packet_core::DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        if header.message_type != SOCK_DIAG_BY_FAMILY {
            return Err(format!("unexpected message type {}", header.message_type).into());
        }
        Ok(Self(match SockDiagMessage::deserialize(header, payload) {
            Ok(SockDiagMessage::InetResponse(response)) => Some(response),
            _ => None,
        }))
    }
}

fn decode(response: &InetResponse) -> Option<Socket> {
    let header = &response.header;
    let id = &header.socket_id;
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(bytes) => TcpInfo::parse(bytes),
        _ => None,
    });
    Some(Socket {
        state: TcpState::from_number(header.state)?,
        // A dual-stack socket shows an IPv4 peer as `::ffff:a.b.c.d`.
        local: Endpoint::new(id.source_address.to_canonical(), id.source_port),
        remote: Endpoint::new(id.destination_address.to_canonical(), id.destination_port),
        timer: header.timer.as_ref().map(|timer| match *timer {
            DiagTimer::Retransmit(expires, retransmits) => Timer::Retransmit { expires, retransmits },
            DiagTimer::KeepAlive(expires) => Timer::KeepAlive { expires },
            DiagTimer::Probe(expires) => Timer::WindowProbe { expires },
            DiagTimer::TimeWait => Timer::TimeWait,
        }),
        inode: header.inode,
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
        info,
    })
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
    let done = parse_datagram(Family::V4, &bytes, &mut |socket| sockets.push(socket.expect("decoded")));
    assert_eq!(done.unwrap(), Progress::Done);
    sockets.sort_by_key(|socket| socket.remote.port());
    sockets.try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mount_whose_server_went_silent_is_told_by_its_socket() {
        let [cifs, iscsi] = captured("6.12-silent");
        assert_eq!(cifs.remote, "192.168.100.180:445".parse().unwrap());
        assert_eq!((cifs.state, cifs.send_queue), (TcpState::Established, 348));
        assert!(matches!(cifs.timer, Some(Timer::Retransmit { retransmits: 21, .. })), "{cifs:?}");
        let info = cifs.info.unwrap();
        assert_eq!((info.unacked, info.backoff), (1, 4));
        assert_eq!(info.retransmission_timeout, Duration::from_millis(3584));
        assert!(cifs.silent_for().unwrap() > Duration::from_secs(42), "{info:?}");
        assert!(cifs.is_stalled(Duration::from_secs(30)) && !cifs.is_stalled(Duration::from_secs(600)));
        assert_eq!(cifs.uses_keepalive(), None);
        // The initiator gave its connection up and tries to open another.
        assert_eq!((iscsi.remote.port(), iscsi.state), (3260, TcpState::SynSent));
        assert!(iscsi.is_stalled(Duration::from_secs(30)), "{iscsi:?}");
    }

    #[test]
    fn the_kernels_storage_clients_do_not_use_keepalive() {
        for socket in captured("6.12-restarted") {
            assert_eq!((socket.state, socket.timer), (TcpState::Established, None), "{socket:?}");
            assert_eq!(socket.uses_keepalive(), Some(false));
            assert!(!socket.is_stalled(Duration::ZERO));
        }
    }

    #[test]
    fn a_refusal_keeps_its_errno_and_what_to_do() {
        // An NLMSG_ERROR for the request that follows it, as the kernel sends it for a missing tcp_diag.
        let mut bytes = Vec::new();
        bytes.extend(36_u32.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-libc::ENOENT).to_ne_bytes());
        bytes.extend([0; 16]);
        let error = parse_datagram(Family::V4, &bytes, &mut |_| {}).unwrap_err();
        assert!(
            matches!(&error, SocketsError::Refused { source, .. } if source.raw_os_error() == Some(libc::ENOENT))
        );
        assert!(error.to_string().ends_with("load module tcp_diag"), "{error}");
    }

    proptest! {
        #[test]
        fn any_datagram_is_decoded_or_refused(bytes: Vec<u8>) {
            let _ = parse_datagram(Family::V4, &bytes, &mut |_| {});
        }

        #[test]
        fn any_answer_is_decoded_or_counted(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = Vec::new();
            bytes.extend(u32::try_from(payload.len() + 16).unwrap().to_ne_bytes());
            bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(&payload);
            let mut answers = 0;
            parse_datagram(Family::V4, &bytes, &mut |_| answers += 1).unwrap();
            prop_assert_eq!(answers, 1);
        }

        #[test]
        fn any_tcp_info_is_read_or_too_short(bytes: Vec<u8>) {
            prop_assert_eq!(TcpInfo::parse(&bytes).is_some(), bytes.len() >= 104);
        }
    }
}
