//! One conntrack entry out of its bytes.
//!
//! In: key and value bytes of a conntrack map. Out: [`CtRow`]: who opened, who answered, state, flags, lifetime.
//! Must not: panic on any bytes: an entry may be torn by concurrent reuse.

use monitor_abi::cilium::CtEntry;
use monitor_abi::class::{Direction, Protocol, State};
use monitor_model::ct::CtRow;
use monitor_model::tuple::Endpoint;

use super::tuple::{LayoutError, Tuple};

/// Decodes an entry of either family.
pub fn decode_ct(key: &[u8], value: &[u8]) -> Result<CtRow, LayoutError> {
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
    Ok(CtRow {
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

#[cfg(test)]
mod tests {
    use monitor_abi::cilium::ct_flag;
    use monitor_model::clock::ClockNow;
    use proptest::prelude::*;

    use super::*;

    /// A v4 entry between 10.244.0.10:43210 and 192.168.100.180:445 with these flags.
    fn row(nexthdr: u8, tuple_flags: u8, flags: u16) -> CtRow {
        let key = [10, 244, 0, 10, 192, 168, 100, 180, 0x01, 0xbd, 0xa8, 0xca, nexthdr, tuple_flags];
        let mut value = [0; 56];
        value[8] = 98;
        value[36..38].copy_from_slice(&flags.to_ne_bytes());
        decode_ct(&key, &value).unwrap()
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
        let error = decode_ct(&[0; 15], &[0; 56]).unwrap_err();
        assert_eq!((error.key, error.value), (15, 56));
        assert!(decode_ct(&[0; 14], &[0; 40]).is_err(), "a NAT value");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_exactly_one_direction_and_state(
            key in prop_oneof![prop::collection::vec(any::<u8>(), 14), prop::collection::vec(any::<u8>(), 38)],
            value in prop::collection::vec(any::<u8>(), 56),
            now in any::<u32>(),
            hz in any::<u32>(),
        ) {
            let row = decode_ct(&key, &value).unwrap();
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
            prop_assert_eq!(decode_ct(&key, &value).is_ok(), fits);
        }
    }
}
