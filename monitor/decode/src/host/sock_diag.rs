//! Answers of `sock_diag` about TCP sockets.
//!
//! In: the bytes of a datagram. Out: every socket in it, decoded, to a callback. Must not: decide what is kept, or let one
//! odd socket end the dump.

use std::net::SocketAddr as Endpoint;

use monitor_model::host::sockets::{Socket, TcpState, Timer};
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{InetResponse, Timer as DiagTimer};
use netlink_packet_sock_diag::{SOCK_DIAG_BY_FAMILY, SockDiagMessage};

use super::tcp_info::parse_tcp_info;

/// A datagram that is no part of a dump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// The kernel's answer to the request.
    #[error("refused with error number {errno}")]
    Refused { errno: i32 },
    #[error("{reason}")]
    Broken { reason: String },
}

/// What one datagram of the answer said about the dump as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// One datagram, any number of messages: every socket to `keep`, `None` for one that could not be decoded.
pub fn parse_datagram(
    mut bytes: &[u8],
    keep: &mut dyn FnMut(Option<Socket>),
) -> Result<Progress, DatagramError> {
    let broken = |reason: String| DatagramError::Broken { reason };
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
                    return Err(DatagramError::Refused { errno: code.get().saturating_abs() });
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
        Nla::TcpInfo(bytes) => parse_tcp_info(bytes),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The first dump in a file of `ss -D`, IPv4.
    fn captured(bytes: &[u8]) -> [Socket; 2] {
        let mut sockets = Vec::new();
        let done = parse_datagram(bytes, &mut |socket| sockets.push(socket.expect("decoded")));
        assert_eq!(done.unwrap(), Progress::Done);
        sockets.sort_by_key(|socket| socket.remote.port());
        sockets.try_into().unwrap()
    }

    #[test]
    fn a_mount_whose_server_went_silent_is_told_by_its_socket() {
        let [cifs, iscsi] = captured(fixture!("sockets/6.12-silent"));
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
        for socket in captured(fixture!("sockets/6.12-restarted")) {
            assert_eq!((socket.state, socket.timer), (TcpState::Established, None), "{socket:?}");
            assert_eq!(socket.uses_keepalive(), Some(false));
            assert!(!socket.is_stalled(Duration::ZERO));
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_decoded_or_refused(bytes: Vec<u8>) {
            let _ = parse_datagram(&bytes, &mut |_| {});
        }

        #[test]
        fn any_answer_is_decoded_or_counted(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = Vec::new();
            bytes.extend(u32::try_from(payload.len() + 16).unwrap().to_ne_bytes());
            bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(&payload);
            let mut answers = 0;
            parse_datagram(&bytes, &mut |_| answers += 1).unwrap();
            prop_assert_eq!(answers, 1);
        }

        #[test]
        fn any_tcp_info_is_read_or_too_short(bytes: Vec<u8>) {
            prop_assert_eq!(parse_tcp_info(&bytes).is_some(), bytes.len() >= 104);
        }
    }
}
