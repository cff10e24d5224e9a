//! The key of every conntrack and NAT map, of either family.
//!
//! In: the bytes of a map key. Out: addresses, ports in host order, protocol and flags.
//! Must not: say who talks to whom: conntrack and NAT read the same fields differently.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitor_abi::cilium::{TUPLE_F_SERVICE, TupleV4, TupleV6};

/// A map whose keys or values are not what Cilium writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to decode {what}: a key of {key} and a value of {value} bytes, expected {expected}: \
     this Cilium version is not supported"
)]
pub struct LayoutError {
    pub what: &'static str,
    pub key: usize,
    pub value: usize,
    pub expected: &'static str,
}

/// A decoded key. The field names are Cilium's; see [`TupleV4`] for what they mean where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub daddr: IpAddr,
    pub saddr: IpAddr,
    pub dport: u16,
    pub sport: u16,
    pub nexthdr: u8,
    pub flags: u8,
}

impl Tuple {
    /// Decodes a key of 14 (IPv4) or 38 (IPv6) bytes.
    pub(crate) fn decode(key: &[u8]) -> Option<Self> {
        if let Some(TupleV4 { daddr, saddr, dport, sport, nexthdr, flags }) = TupleV4::from_bytes(key) {
            return Some(Self {
                daddr: Ipv4Addr::from(daddr).into(),
                saddr: Ipv4Addr::from(saddr).into(),
                dport: u16::from_be_bytes(dport),
                sport: u16::from_be_bytes(sport),
                nexthdr,
                flags,
            });
        }
        let TupleV6 { daddr, saddr, dport, sport, nexthdr, flags } = TupleV6::from_bytes(key)?;
        Some(Self {
            daddr: Ipv6Addr::from(daddr).into(),
            saddr: Ipv6Addr::from(saddr).into(),
            dport: u16::from_be_bytes(dport),
            sport: u16::from_be_bytes(sport),
            nexthdr,
            flags,
        })
    }

    /// Whether this is a load-balancer decision: its addresses and ports mirror those of other entries.
    pub(crate) const fn is_service(&self) -> bool {
        self.flags & TUPLE_F_SERVICE != 0
    }
}
