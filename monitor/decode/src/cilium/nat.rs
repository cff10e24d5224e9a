//! One NAT entry out of its bytes.
//!
//! In: key and value bytes of a NAT map. Out: [`NatRow`]: the packet as it arrives, and what it is rewritten to.
//! Must not: panic on any bytes: an entry may be torn by concurrent reuse.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitor_abi::cilium::{NatEntryV4, NatEntryV6};
use monitor_abi::class::{Direction, Protocol};
use monitor_model::nat::NatRow;
use monitor_model::tuple::Endpoint;

use super::tuple::{LayoutError, Tuple};

/// Decodes an entry of either family; key and value must be of the same one.
pub fn decode_nat(key: &[u8], value: &[u8]) -> Result<NatRow, LayoutError> {
    decode_sized(key, value).ok_or(LayoutError {
        what: "a NAT entry",
        key: key.len(),
        value: value.len(),
        expected: "14 and 40, or 38 and 56",
    })
}

fn decode_sized(key: &[u8], value: &[u8]) -> Option<NatRow> {
    let Tuple { daddr, saddr, dport, sport, nexthdr, flags } = Tuple::decode(key)?;
    let (to, port, created, needs_ct): (IpAddr, _, _, _) = match daddr {
        IpAddr::V4(_) => {
            let NatEntryV4 { created, needs_ct, pad1: _, pad2: _, to_addr, to_port, tail: _ } =
                NatEntryV4::from_bytes(value)?;
            (Ipv4Addr::from(to_addr).into(), to_port, created, needs_ct)
        }
        IpAddr::V6(_) => {
            let NatEntryV6 { created, needs_ct, pad1: _, pad2: _, to_addr, to_port, tail: _ } =
                NatEntryV6::from_bytes(value)?;
            (Ipv6Addr::from(to_addr).into(), to_port, created, needs_ct)
        }
    };
    Some(NatRow {
        source: Endpoint { address: saddr, port: sport },
        destination: Endpoint { address: daddr, port: dport },
        to: Endpoint { address: to, port: u16::from_be_bytes(port) },
        nexthdr,
        tuple_flags: flags,
        direction: Direction::of(flags),
        protocol: Protocol::of(nexthdr),
        created,
        needs_ct,
    })
}

#[cfg(test)]
mod tests {
    use monitor_model::clock::ClockNow;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_packet_tuples() {
        // 10.244.0.10:43210 -> 192.168.100.180:445, masqueraded as 192.168.42.254.
        let key = [192, 168, 100, 180, 10, 244, 0, 10, 0x01, 0xbd, 0xa8, 0xca, 6, 0];
        let mut value = [0; 40];
        value[..8].copy_from_slice(&1854_u64.to_ne_bytes());
        value[32..38].copy_from_slice(&[192, 168, 42, 254, 0xa8, 0xca]);
        let row = decode_nat(&key, &value).unwrap();
        let ends = [row.source, row.destination, row.to].map(|end| end.to_string());
        assert_eq!(ends, ["10.244.0.10:43210", "192.168.100.180:445", "192.168.42.254:43210"]);
        assert_eq!(row.direction, Direction::Out);
        assert_eq!(row.age(Some(ClockNow::ktime(1861))), Some(7));
        assert_eq!(row.age(None), None);
    }

    proptest! {
        #[test]
        fn bytes_of_any_length_never_panic(
            key in prop_oneof![prop::collection::vec(any::<u8>(), 14), prop::collection::vec(any::<u8>(), 0..48)],
            value in prop_oneof![prop::collection::vec(any::<u8>(), 40), prop::collection::vec(any::<u8>(), 0..64)],
            now in any::<u32>(),
            hz in any::<u32>(),
        ) {
            let fits = matches!((key.len(), value.len()), (14, 40) | (38, 56));
            let row = decode_nat(&key, &value);
            prop_assert_eq!(row.is_ok(), fits);
            if let Ok(row) = row {
                for clock in [ClockNow::ktime(now), ClockNow::jiffies(now, hz)] {
                    let _ = row.age(Some(clock));
                }
            }
        }
    }
}
