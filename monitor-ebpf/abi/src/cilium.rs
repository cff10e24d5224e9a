//! Layouts of Cilium's conntrack and NAT maps, byte for byte.
//!
//! In: nothing. Out: `repr(C)` mirrors with their sizes and offsets asserted, flag bits, decoders from bytes.
//! Must not: interpret. What a state or a direction is stands in [`crate::class`].
//!
//! Key and value sizes are the same from Cilium 1.14 to 1.20; only bytes 0..32 and 40..42 of a conntrack
//! value changed their meaning, and nothing that classifies an entry lies there.
//!
//! Sources: `struct ipv4_ct_tuple`, `ipv6_ct_tuple`, `ct_entry` in
//! <https://github.com/cilium/cilium/blob/v1.18.0/bpf/lib/common.h>, `struct ipv4_nat_entry` and
//! `ipv6_nat_entry` in <https://github.com/cilium/cilium/blob/v1.18.0/bpf/lib/nat.h>.

use core::mem::{offset_of, size_of};

/// `TUPLE_F_IN`: the entry was created by a packet that enters a local endpoint.
pub const TUPLE_F_IN: u8 = 1;
/// `TUPLE_F_RELATED`: the ICMP companion of another entry.
pub const TUPLE_F_RELATED: u8 = 2;
/// `TUPLE_F_SERVICE`: a load-balancer decision of a service frontend.
pub const TUPLE_F_SERVICE: u8 = 4;
/// All tuple flags Cilium defines.
pub const TUPLE_F_KNOWN: u8 = TUPLE_F_IN | TUPLE_F_RELATED | TUPLE_F_SERVICE;

/// Bits of `ct_entry.flags`, at the same positions since 1.14.
pub mod ct_flag {
    pub const RX_CLOSING: u16 = 0x0001;
    pub const TX_CLOSING: u16 = 0x0002;
    pub const NAT64: u16 = 0x0004;
    pub const LB_LOOPBACK: u16 = 0x0008;
    pub const SEEN_NON_SYN: u16 = 0x0010;
    pub const NODE_PORT: u16 = 0x0020;
    pub const PROXY_REDIRECT: u16 = 0x0040;
    pub const DSR_INTERNAL: u16 = 0x0080;
    pub const FROM_L7LB: u16 = 0x0100;
    /// Reserved; was `auth_required` before 1.14. Cilium's CLI counts it as known and does not print it.
    pub const RESERVED: u16 = 0x0200;
    pub const FROM_TUNNEL: u16 = 0x0400;
    /// Every bit above.
    pub const KNOWN: u16 = 0x07ff;
}

/// `IPPROTO_*` numbers Cilium tracks.
pub mod proto {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// `struct ipv4_ct_tuple` (packed): the key of the v4 conntrack and NAT maps.
///
/// Addresses and ports are network order. In conntrack keys the address names hold for the reply
/// direction and the port names for the original one: the initiator is `daddr:sport`, the responder
/// `saddr:dport`; SERVICE keys are the mirror image. NAT keys are plain packet tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TupleV4 {
    pub daddr: [u8; 4],
    pub saddr: [u8; 4],
    pub dport: [u8; 2],
    pub sport: [u8; 2],
    pub nexthdr: u8,
    pub flags: u8,
}

/// `struct ipv6_ct_tuple` (packed): the key of the v6 conntrack and NAT maps. See [`TupleV4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TupleV6 {
    pub daddr: [u8; 16],
    pub saddr: [u8; 16],
    pub dport: [u8; 2],
    pub sport: [u8; 2],
    pub nexthdr: u8,
    pub flags: u8,
}

/// `struct ct_entry`: the value of every conntrack map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CtEntry {
    /// 1.16..1.18 reserved; <= 1.15 `rx_packets`; 1.19+ first half of `nat_addr`.
    pub union0: u64,
    /// `backend_id` of SERVICE entries; 1.19+ second half of `nat_addr` for the others.
    pub union1: u64,
    /// Both directions summed; 0 unless accounting is on (off by default since 1.16).
    pub packets: u64,
    pub bytes: u64,
    /// Absolute expiry in the map's own clock, see "Clock" in ARCHITECTURE.md.
    pub lifetime: u32,
    /// [`ct_flag`] bits.
    pub flags: u16,
    /// Network order.
    pub rev_nat_index: u16,
    /// 1.18 unused; <= 1.17 `ifindex`; 1.19+ `nat_port`, network order.
    pub nat_port: u16,
    pub tx_flags_seen: u8,
    pub rx_flags_seen: u8,
    pub src_sec_id: u32,
    /// When a packet that leaves the endpoint was last reported, on the clock of `lifetime`, see [`crate::silence`].
    pub last_tx_report: u32,
    /// The same of packets that enter it.
    pub last_rx_report: u32,
}

/// `struct ipv4_nat_entry`: the value of the v4 NAT map, with its tail padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NatEntryV4 {
    pub created: u64,
    pub needs_ct: u64,
    pub pad1: u64,
    pub pad2: u64,
    pub to_addr: [u8; 4],
    pub to_port: [u8; 2],
    pub tail: [u8; 2],
}

/// `struct ipv6_nat_entry`: the value of the v6 NAT map, with its tail padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NatEntryV6 {
    pub created: u64,
    pub needs_ct: u64,
    pub pad1: u64,
    pub pad2: u64,
    pub to_addr: [u8; 16],
    pub to_port: [u8; 2],
    pub tail: [u8; 6],
}

const _: () = {
    assert!(size_of::<TupleV4>() == 14 && size_of::<TupleV6>() == 38);
    assert!(offset_of!(TupleV4, saddr) == 4 && offset_of!(TupleV4, dport) == 8);
    assert!(offset_of!(TupleV4, sport) == 10 && offset_of!(TupleV4, nexthdr) == 12);
    assert!(offset_of!(TupleV4, flags) == 13);
    assert!(offset_of!(TupleV6, saddr) == 16 && offset_of!(TupleV6, dport) == 32);
    assert!(offset_of!(TupleV6, sport) == 34 && offset_of!(TupleV6, nexthdr) == 36);
    assert!(offset_of!(TupleV6, flags) == 37);
    assert!(size_of::<CtEntry>() == 56);
    assert!(offset_of!(CtEntry, union1) == 8 && offset_of!(CtEntry, packets) == 16);
    assert!(offset_of!(CtEntry, lifetime) == 32 && offset_of!(CtEntry, flags) == 36);
    assert!(offset_of!(CtEntry, rev_nat_index) == 38 && offset_of!(CtEntry, nat_port) == 40);
    assert!(offset_of!(CtEntry, tx_flags_seen) == 42 && offset_of!(CtEntry, rx_flags_seen) == 43);
    assert!(offset_of!(CtEntry, src_sec_id) == 44 && offset_of!(CtEntry, last_tx_report) == 48);
    assert!(offset_of!(CtEntry, last_rx_report) == 52);
    assert!(size_of::<NatEntryV4>() == 40 && offset_of!(NatEntryV4, to_addr) == 32);
    assert!(offset_of!(NatEntryV4, to_port) == 36);
    assert!(size_of::<NatEntryV6>() == 56 && offset_of!(NatEntryV6, to_addr) == 32);
    assert!(offset_of!(NatEntryV6, to_port) == 48);
};

impl TupleV4 {
    /// Decodes a map key; `None` if it does not have exactly 14 bytes.
    #[must_use]
    pub fn from_bytes(key: &[u8]) -> Option<Self> {
        let key: &[u8; size_of::<Self>()] = key.try_into().ok()?;
        let [d0, d1, d2, d3, s0, s1, s2, s3, dp0, dp1, sp0, sp1, nexthdr, flags] = *key;
        Some(Self {
            daddr: [d0, d1, d2, d3],
            saddr: [s0, s1, s2, s3],
            dport: [dp0, dp1],
            sport: [sp0, sp1],
            nexthdr,
            flags,
        })
    }
}

impl TupleV6 {
    /// Decodes a map key; `None` if it does not have exactly 38 bytes.
    #[must_use]
    pub fn from_bytes(key: &[u8]) -> Option<Self> {
        let (daddr, rest) = key.split_first_chunk::<16>()?;
        let (saddr, rest) = rest.split_first_chunk::<16>()?;
        let [dp0, dp1, sp0, sp1, nexthdr, flags] = *<&[u8; 6]>::try_from(rest).ok()?;
        Some(Self { daddr: *daddr, saddr: *saddr, dport: [dp0, dp1], sport: [sp0, sp1], nexthdr, flags })
    }
}

impl CtEntry {
    /// Decodes a map value in host order; `None` if it does not have exactly 56 bytes.
    #[must_use]
    pub fn from_bytes(value: &[u8]) -> Option<Self> {
        let (union0, rest) = take_u64(value)?;
        let (union1, rest) = take_u64(rest)?;
        let (packets, rest) = take_u64(rest)?;
        let (bytes, rest) = take_u64(rest)?;
        let (lifetime, rest) = take_u32(rest)?;
        let (flags, rest) = take_u16(rest)?;
        let (rev_nat_index, rest) = take_u16(rest)?;
        let (nat_port, rest) = take_u16(rest)?;
        let (&[tx_flags_seen, rx_flags_seen], rest) = rest.split_first_chunk::<2>()?;
        let (src_sec_id, rest) = take_u32(rest)?;
        let (last_tx_report, rest) = take_u32(rest)?;
        let (last_rx_report, rest) = take_u32(rest)?;
        rest.is_empty().then_some(Self {
            union0,
            union1,
            packets,
            bytes,
            lifetime,
            flags,
            rev_nat_index,
            nat_port,
            tx_flags_seen,
            rx_flags_seen,
            src_sec_id,
            last_tx_report,
            last_rx_report,
        })
    }
}

impl NatEntryV4 {
    /// Decodes a map value in host order; `None` if it does not have exactly 40 bytes.
    #[must_use]
    pub fn from_bytes(value: &[u8]) -> Option<Self> {
        let (created, rest) = take_u64(value)?;
        let (needs_ct, rest) = take_u64(rest)?;
        let (pad1, rest) = take_u64(rest)?;
        let (pad2, rest) = take_u64(rest)?;
        let (to_addr, rest) = rest.split_first_chunk::<4>()?;
        let (to_port, rest) = rest.split_first_chunk::<2>()?;
        let tail = *<&[u8; 2]>::try_from(rest).ok()?;
        Some(Self { created, needs_ct, pad1, pad2, to_addr: *to_addr, to_port: *to_port, tail })
    }
}

impl NatEntryV6 {
    /// Decodes a map value in host order; `None` if it does not have exactly 56 bytes.
    #[must_use]
    pub fn from_bytes(value: &[u8]) -> Option<Self> {
        let (created, rest) = take_u64(value)?;
        let (needs_ct, rest) = take_u64(rest)?;
        let (pad1, rest) = take_u64(rest)?;
        let (pad2, rest) = take_u64(rest)?;
        let (to_addr, rest) = rest.split_first_chunk::<16>()?;
        let (to_port, rest) = rest.split_first_chunk::<2>()?;
        let tail = *<&[u8; 6]>::try_from(rest).ok()?;
        Some(Self { created, needs_ct, pad1, pad2, to_addr: *to_addr, to_port: *to_port, tail })
    }
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_ne_bytes(*head), rest))
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_ne_bytes(*head), rest))
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_ne_bytes(*head), rest))
}
