//! One conntrack entry as plain data.
//!
//! In: key and value bytes of a conntrack map. Out: [`CtRow`]: who opened, who answered, state, flags, lifetime.
//! Must not: read maps or clocks, or panic on any bytes: an entry may be torn by concurrent reuse.

use monitor_abi::cilium::{CtEntry, TUPLE_F_IN, ct_flag};
use monitor_abi::class::{Direction, Protocol, State};

use super::clock::Reading;
use super::tuple::{Endpoint, LayoutError, Tuple};

/// The names Cilium's CLI prints for the bits of the flag word, in its order.
const FLAG_NAMES: [(u16, &str); 10] = [
    (ct_flag::RX_CLOSING, "RxClosing"),
    (ct_flag::TX_CLOSING, "TxClosing"),
    (ct_flag::NAT64, "Nat64"),
    (ct_flag::LB_LOOPBACK, "LBLoopback"),
    (ct_flag::SEEN_NON_SYN, "SeenNonSyn"),
    (ct_flag::NODE_PORT, "NodePort"),
    (ct_flag::PROXY_REDIRECT, "ProxyRedirect"),
    (ct_flag::DSR_INTERNAL, "DSRInternal"),
    (ct_flag::FROM_L7LB, "FromL7LB"),
    (ct_flag::FROM_TUNNEL, "FromTunnel"),
];

/// A conntrack entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtRow {
    /// Who sent the first packet.
    pub initiator: Endpoint,
    /// Whom it was sent to; of SERVICE entries the frontend.
    pub responder: Endpoint,
    pub nexthdr: u8,
    pub tuple_flags: u8,
    pub direction: Direction,
    pub state: State,
    pub protocol: Protocol,
    /// [`ct_flag`] bits.
    pub flags: u16,
    /// Absolute expiry on the map's clock.
    pub lifetime: u32,
    pub rev_nat: u16,
    /// Bytes 8..16 of the value: the backend of SERVICE entries, see [`CtRow::backend_id`].
    pub union1: u64,
    /// Both directions; 0 unless Cilium accounts.
    pub packets: u64,
    pub bytes: u64,
    pub rx_flags_seen: u8,
    pub tx_flags_seen: u8,
    pub src_sec_id: u32,
    pub last_rx_report: u32,
    pub last_tx_report: u32,
}

impl CtRow {
    /// Decodes an entry of either family.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, LayoutError> {
        let (Some(tuple), Some(entry)) = (Tuple::decode(key), CtEntry::from_bytes(value)) else {
            return Err(LayoutError {
                what: "a conntrack entry",
                key: key.len(),
                value: value.len(),
                expected: "14 or 38 and 56",
            });
        };
        let CtEntry {
            union0: _,
            union1,
            packets,
            bytes,
            lifetime,
            flags,
            rev_nat_index,
            nat_port: _,
            tx_flags_seen,
            rx_flags_seen,
            src_sec_id,
            last_tx_report,
            last_rx_report,
        } = entry;
        let at_daddr = Endpoint { address: tuple.daddr, port: tuple.sport };
        let at_saddr = Endpoint { address: tuple.saddr, port: tuple.dport };
        let (initiator, responder) =
            if tuple.is_service() { (at_saddr, at_daddr) } else { (at_daddr, at_saddr) };
        Ok(Self {
            initiator,
            responder,
            nexthdr: tuple.nexthdr,
            tuple_flags: tuple.flags,
            direction: Direction::of(tuple.flags),
            state: State::of(tuple.nexthdr, tuple.flags, flags),
            protocol: Protocol::of(tuple.nexthdr),
            flags,
            lifetime,
            rev_nat: u16::from_be(rev_nat_index),
            union1,
            packets,
            bytes,
            rx_flags_seen,
            tx_flags_seen,
            src_sec_id,
            last_rx_report,
            last_tx_report,
        })
    }

    /// Seconds left on the map's clock, negative when overdue; `None` while the clock is unknown.
    #[must_use]
    pub fn remaining(&self, now: Option<Reading>) -> Option<i64> {
        now?.seconds_left(self.lifetime)
    }

    /// Whether the collector would take the entry; `None` while the clock is unknown.
    #[must_use]
    pub fn expired(&self, now: Option<Reading>) -> Option<bool> {
        now?.expired(self.lifetime)
    }

    /// The end that is not the local endpoint.
    ///
    /// Outgoing entries with `NodePort` or `DSRInternal` were opened by an external client through this node:
    /// there the initiator is the remote one.
    #[must_use]
    pub const fn remote(&self) -> Endpoint {
        let through_node = self.flags & (ct_flag::NODE_PORT | ct_flag::DSR_INTERNAL) != 0;
        let facing_in = self.tuple_flags & TUPLE_F_IN != 0;
        if facing_in || through_node || matches!(self.direction, Direction::Service) {
            self.initiator
        } else {
            self.responder
        }
    }

    /// The chosen backend. Other than SERVICE entries hold something else in these bytes.
    #[must_use]
    pub fn backend_id(&self) -> Option<u64> {
        (self.direction == Direction::Service).then_some(self.union1)
    }

    /// The names of the flags that are set, as Cilium prints them.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let flags = self.flags;
        FLAG_NAMES.iter().filter(move |(bit, _)| flags & bit != 0).map(|(_, name)| *name)
    }

    /// The flag bits Cilium does not define.
    #[must_use]
    pub const fn unknown_flags(&self) -> u16 {
        self.flags & !ct_flag::KNOWN
    }
}
