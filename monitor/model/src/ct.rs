//! One conntrack entry as plain data.
//!
//! In: nothing; the decoder fills it. Out: [`CtRow`]: who opened, who answered, state, flags, lifetime.
//! Must not: know how Cilium lays an entry out, or read a clock: whoever asks for seconds brings the clock's reading.

use monitor_abi::cilium::{TUPLE_F_IN, ct_flag};
use monitor_abi::class::{Direction, Protocol, State};
use monitor_abi::silence;

use super::clock::{Clock, ClockNow};
use super::tuple::Endpoint;

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
    /// Bytes 40 and 41 of the value: the interface up to Cilium 1.17, unused in 1.18, something else after it.
    pub ifindex: u16,
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
    /// Seconds left on the map's clock, negative when overdue; `None` while the clock is unknown.
    #[must_use]
    pub fn remaining(&self, now: Option<ClockNow>) -> Option<i64> {
        now?.seconds_left(self.lifetime)
    }

    /// Whether Cilium's gc would remove the entry; `None` while the clock is unknown.
    #[must_use]
    pub fn expired(&self, now: Option<ClockNow>) -> Option<bool> {
        now?.expired(self.lifetime)
    }

    /// The later of both reports; `None` if there was none.
    #[must_use]
    pub fn last_report(&self) -> Option<u32> {
        Some(self.last_tx_report.max(self.last_rx_report)).filter(|report| *report != 0)
    }

    /// Clock units since the later report; `None` if there was none, and while the clock is unknown.
    #[must_use]
    pub fn silent_units(&self, now: Option<ClockNow>) -> Option<u32> {
        let now = now.filter(|now| now.mode != Clock::Undecided)?;
        Some(silence::silent(now.now, self.last_report()?))
    }

    /// The same in seconds, rounded down.
    #[must_use]
    pub fn silent(&self, now: Option<ClockNow>) -> Option<u64> {
        now?.seconds(self.silent_units(now)?.into())
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

#[cfg(test)]
impl CtRow {
    /// An entry with these flags that nobody reported: direction, state and protocol follow from them.
    pub(crate) fn between(ends: [Endpoint; 2], nexthdr: u8, tuple_flags: u8, flags: u16) -> Self {
        let [initiator, responder] = ends;
        Self {
            initiator,
            responder,
            nexthdr,
            tuple_flags,
            direction: Direction::of(tuple_flags),
            state: State::of(nexthdr, tuple_flags, flags),
            protocol: Protocol::of(nexthdr),
            flags,
            lifetime: 0,
            rev_nat: 0,
            ifindex: 0,
            union1: 0,
            packets: 0,
            bytes: 0,
            rx_flags_seen: 0,
            tx_flags_seen: 0,
            src_sec_id: 0,
            last_rx_report: 0,
            last_tx_report: 0,
        }
    }
}
