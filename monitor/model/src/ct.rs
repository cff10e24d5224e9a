//! One conntrack entry as plain data.
//!
//! In: key and value bytes of a conntrack map. Out: [`CtRow`]: both ends, state, flags, lifetime.
//! Must not: read maps or clocks, or panic on any bytes: an entry may be torn by concurrent reuse.

use monitor_abi::cilium::{CtEntry, TUPLE_F_IN, ct_flag};
use monitor_abi::class::{Direction, Protocol, State};
use monitor_abi::silence;

use super::clock::{Clock, ClockNow};
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
            nat_port,
            tx_flags_seen,
            rx_flags_seen,
            src_sec_id,
            last_tx_report,
            last_rx_report,
        } = entry;
        // Each address belongs to the port of the other name, see `TupleV4`.
        let first = Endpoint { address: tuple.daddr, port: tuple.sport };
        let second = Endpoint { address: tuple.saddr, port: tuple.dport };
        let (initiator, responder) = if tuple.is_service() { (second, first) } else { (first, second) };
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
            ifindex: nat_port,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A v4 entry between 10.244.0.10:43210 and 192.168.100.180:445 with these flags.
    fn row(nexthdr: u8, tuple_flags: u8, flags: u16) -> CtRow {
        let key = [10, 244, 0, 10, 192, 168, 100, 180, 0x01, 0xbd, 0xa8, 0xca, nexthdr, tuple_flags];
        let mut value = [0; 56];
        value[8] = 98;
        value[36..38].copy_from_slice(&flags.to_ne_bytes());
        CtRow::decode(&key, &value).unwrap()
    }

    fn check_ends(row: &CtRow, initiator: &str, responder: &str, remote: &str) {
        let ends = [row.initiator, row.responder, row.remote()].map(|end| end.to_string());
        assert_eq!(ends, [initiator, responder, remote]);
    }

    const POD: &str = "10.244.0.10:43210";
    const NAS: &str = "192.168.100.180:445";

    #[test]
    fn the_initiator_stands_first_and_the_remote_end_follows_the_direction() {
        check_ends(&row(6, 0, 0x10), POD, NAS, NAS);
        check_ends(&row(6, 1, 0x10), POD, NAS, POD);
        check_ends(&row(6, 4, 0x10), NAS, POD, NAS);
        check_ends(&row(1, 2, 0), POD, NAS, NAS);
        check_ends(&row(1, 3, 0), POD, NAS, POD);
    }

    #[test]
    fn connections_through_the_node_have_their_client_as_remote_end() {
        check_ends(&row(6, 0, 0x10 | ct_flag::NODE_PORT), POD, NAS, POD);
        check_ends(&row(6, 0, 0x10 | ct_flag::DSR_INTERNAL), POD, NAS, POD);
    }

    #[test]
    fn only_service_entries_have_a_backend() {
        assert_eq!(row(6, 4, 0).backend_id(), Some(98));
        assert_eq!(row(6, 0, 0).backend_id(), None);
    }

    #[test]
    fn states_follow_the_flags() {
        let states = [0x01, 0x12, 0x13, 0x00, 0x10].map(|flags| row(6, 0, flags).state.name());
        assert_eq!(states, ["rx_closing", "tx_closing", "closed", "opening", "established"]);
        assert_eq!(row(17, 0, 0x10).state, State::Stateless);
        assert_eq!(row(6, 2, 0x10).state, State::Stateless, "RELATED entries have no state of their own");
    }

    #[test]
    fn other_sizes_are_refused_by_name() {
        let error = CtRow::decode(&[0; 15], &[0; 56]).unwrap_err();
        assert_eq!((error.key, error.value), (15, 56));
        assert!(CtRow::decode(&[0; 14], &[0; 40]).is_err(), "a NAT value");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_exactly_one_direction_and_state(
            key in prop_oneof![prop::collection::vec(any::<u8>(), 14), prop::collection::vec(any::<u8>(), 38)],
            value in prop::collection::vec(any::<u8>(), 56),
            now in any::<u32>(),
            hz in any::<u32>(),
        ) {
            let row = CtRow::decode(&key, &value).unwrap();
            prop_assert_eq!(Direction::ALL.iter().filter(|&&direction| direction == row.direction).count(), 1);
            prop_assert_eq!(State::ALL.iter().filter(|&&state| state == row.state).count(), 1);
            // A strict partition, told apart by other means than `State::of`.
            let (closing, tcp) = (row.flags & 3, row.nexthdr == 6 && row.tuple_flags & 2 == 0);
            let expected = match (closing, tcp, row.flags & 0x10 != 0) {
                (1, ..) => State::RxClosing,
                (2, ..) => State::TxClosing,
                (3, ..) => State::Closed,
                (_, false, _) => State::Stateless,
                (_, true, seen) => if seen { State::Established } else { State::Opening },
            };
            prop_assert_eq!(row.state, expected);
            prop_assert!([row.initiator, row.responder].contains(&row.remote()));
            let clock = Some(ClockNow::ktime(now));
            prop_assert_eq!(row.expired(clock), row.remaining(clock).map(|left| left < 0));
            let _ = row.remaining(Some(ClockNow::jiffies(now, hz)));
        }

        #[test]
        fn bytes_of_any_length_never_panic(
            key in prop::collection::vec(any::<u8>(), 0..48),
            value in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let fits = matches!(key.len(), 14 | 38) && value.len() == 56;
            prop_assert_eq!(CtRow::decode(&key, &value).is_ok(), fits);
        }
    }
}
