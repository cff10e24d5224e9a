//! Keys and values as Cilium's datapath writes them.
//!
//! In: who talks to whom. Out: bytes. Must not: decide when or why: see [`super::model`].

use std::net::{IpAddr, SocketAddr};

/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;
/// `RxClosing`.
pub const RX_CLOSING: u16 = 0x0001;
/// `TxClosing`.
pub const TX_CLOSING: u16 = 0x0002;
/// `SeenNonSyn`.
pub const SEEN_NON_SYN: u16 = 0x0010;

/// The tuple flags of entries that are not RELATED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Facing {
    Out = 0,
    In = 1,
    Service = 4,
}

/// `TUPLE_F_RELATED`.
const RELATED: u8 = 2;

/// A conntrack value; what is not here is 0, as it is with accounting off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtValue {
    pub backend_id: u64,
    pub packets: u64,
    pub bytes: u64,
    pub lifetime: u32,
    pub flags: u16,
    /// As printed; stored in network order.
    pub rev_nat: u16,
    pub tx_flags_seen: u8,
    pub rx_flags_seen: u8,
    pub src_sec_id: u32,
    pub last_tx_report: u32,
    pub last_rx_report: u32,
}

impl CtValue {
    /// The 56 bytes of `struct ct_entry`.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend(self.backend_id.to_ne_bytes());
        bytes.extend(self.packets.to_ne_bytes());
        bytes.extend(self.bytes.to_ne_bytes());
        bytes.extend(self.lifetime.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(self.rev_nat.to_be_bytes());
        bytes.extend([0, 0, self.tx_flags_seen, self.rx_flags_seen]);
        bytes.extend(self.src_sec_id.to_ne_bytes());
        bytes.extend(self.last_tx_report.to_ne_bytes());
        bytes.extend(self.last_rx_report.to_ne_bytes());
        bytes
    }

    #[must_use]
    pub const fn is_stale(self) -> bool {
        self.flags & (RX_CLOSING | TX_CLOSING) != 0
    }

    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.flags & RX_CLOSING != 0 && self.flags & TX_CLOSING != 0
    }
}

/// The key of a connection. Address names in Cilium's tuple hold for replies and port names for the original
/// direction, so that the initiator's address stands first and its port last; SERVICE keys are the mirror image.
#[must_use]
pub fn ct_key(facing: Facing, initiator: SocketAddr, responder: SocketAddr, protocol: u8) -> Vec<u8> {
    let (first, second) =
        if facing == Facing::Service { (responder, initiator) } else { (initiator, responder) };
    tuple(first.ip(), second.ip(), second.port(), first.port(), protocol, facing as u8)
}

/// The key of the ICMP companion of all connections between two addresses.
#[must_use]
pub fn related_key(facing: Facing, initiator: IpAddr, responder: IpAddr) -> Vec<u8> {
    let protocol = if initiator.is_ipv4() { 1 } else { 58 };
    tuple(initiator, responder, 0, 0, protocol, facing as u8 | RELATED)
}

/// The NAT key of packets that leave.
#[must_use]
pub fn nat_out_key(source: SocketAddr, destination: SocketAddr, protocol: u8) -> Vec<u8> {
    tuple(destination.ip(), source.ip(), destination.port(), source.port(), protocol, 0)
}

/// The NAT key of replies from `remote` to the translated source.
#[must_use]
pub fn nat_in_key(remote: SocketAddr, translated: SocketAddr, protocol: u8) -> Vec<u8> {
    tuple(translated.ip(), remote.ip(), translated.port(), remote.port(), protocol, 1)
}

/// `struct ipv4_nat_entry` or `ipv6_nat_entry`, with the tail padding.
#[must_use]
pub fn nat_value(created: u32, needs_ct: bool, to: SocketAddr) -> Vec<u8> {
    let mut bytes = u64::from(created).to_ne_bytes().to_vec();
    bytes.extend(u64::from(needs_ct).to_ne_bytes());
    bytes.extend([0; 16]);
    bytes.extend(octets(to.ip()));
    bytes.extend(to.port().to_be_bytes());
    bytes.resize(if to.is_ipv4() { 40 } else { 56 }, 0);
    bytes
}

fn tuple(first: IpAddr, second: IpAddr, dport: u16, sport: u16, protocol: u8, flags: u8) -> Vec<u8> {
    let mut bytes = octets(first);
    bytes.extend(octets(second));
    bytes.extend(dport.to_be_bytes());
    bytes.extend(sport.to_be_bytes());
    bytes.extend([protocol, flags]);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::MapName;
    use crate::cli_text::{CtLine, Endpoint, ct_lines, nat_lines};
    use crate::fixture::{self, CT_LIST, NAT_LIST, NAT_LIST_CLOCK};

    fn socket(end: Endpoint) -> SocketAddr {
        SocketAddr::new(end.address, end.port)
    }

    fn protocol(name: &str) -> u8 {
        match name {
            "TCP" => TCP,
            "UDP" => UDP,
            "ICMP" => 1,
            "ICMPv6" => 58,
            other => panic!("{other}"),
        }
    }

    fn key_of(line: &CtLine<'_>) -> Vec<u8> {
        let facing = match line.facing {
            "OUT" => Facing::Out,
            "IN" => Facing::In,
            _ => Facing::Service,
        };
        if line.related {
            related_key(facing, line.initiator.address, line.responder.address)
        } else {
            ct_key(facing, socket(line.initiator), socket(line.responder), protocol(line.protocol))
        }
    }

    fn value_of(line: &CtLine<'_>) -> CtValue {
        let number = |name: &str| -> u64 { line.fields[name].parse().unwrap() };
        let hex = |name: &str| u16::from_str_radix(&line.fields[name][2..], 16).unwrap();
        CtValue {
            backend_id: number("BackendID"),
            packets: number("Packets"),
            bytes: number("Bytes"),
            lifetime: number("expires").try_into().unwrap(),
            flags: hex("Flags"),
            rev_nat: number("RevNAT").try_into().unwrap(),
            tx_flags_seen: hex("TxFlagsSeen").try_into().unwrap(),
            rx_flags_seen: hex("RxFlagsSeen").try_into().unwrap(),
            src_sec_id: number("SourceSecurityID").try_into().unwrap(),
            last_tx_report: number("LastTxReport").try_into().unwrap(),
            last_rx_report: number("LastRxReport").try_into().unwrap(),
        }
    }

    #[test]
    fn what_is_written_from_the_printed_line_is_what_cilium_wrote() {
        let lines = ct_lines(CT_LIST).unwrap();
        let mut compared = 0;
        for map in MapName::CT {
            let lines: Vec<_> = lines.iter().filter(|line| line.map == map).collect();
            for (line, record) in lines.into_iter().zip(fixture::records(map).unwrap()) {
                assert_eq!(key_of(line), record.key, "{}", line.text);
                assert_eq!(value_of(line).to_bytes(), record.value, "{}", line.text);
                compared += 1;
            }
        }
        assert_eq!(compared, 399);
    }

    #[test]
    fn nat_entries_written_from_the_printed_line_are_what_cilium_wrote() {
        let lines = nat_lines(NAT_LIST).unwrap();
        let mut compared = 0;
        for map in MapName::NAT {
            let lines: Vec<_> = lines.iter().filter(|line| line.map == map).collect();
            for (line, record) in lines.into_iter().zip(fixture::records(map).unwrap()) {
                let (source, destination) = (socket(line.source), socket(line.destination));
                let key = if line.facing == "OUT" {
                    nat_out_key(source, destination, protocol(line.protocol))
                } else {
                    nat_in_key(source, destination, protocol(line.protocol))
                };
                assert_eq!(key, record.key, "{}", line.text);
                let ago: u32 = line.fields["Created"].trim_end_matches("sec").parse().unwrap();
                let value =
                    nat_value(NAT_LIST_CLOCK - ago, line.fields["NeedsCT"] == "1", socket(line.translated));
                assert_eq!(value, record.value, "{}", line.text);
                compared += 1;
            }
        }
        assert_eq!(compared, 490 + 102);
    }
}
