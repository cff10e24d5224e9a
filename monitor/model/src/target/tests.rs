//! The rule by example, and the tables against a naive reading of the rule.

use proptest::prelude::*;

use super::tables::{Common, KernelTables, LpmEntry};
use super::*;

fn service(name: &str, ports: &[u16], protocol: Option<Transport>) -> ServiceSpec {
    ServiceSpec { name: name.to_owned(), ports: ports.to_vec(), protocol }
}

fn target(name: &str, prefixes: &[&str], services: Vec<ServiceSpec>) -> TargetSpec {
    let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    TargetSpec { name: name.to_owned(), prefixes, services }
}

fn incident() -> TargetIndex {
    let qnap = vec![
        service("smb", &[445], None),
        service("iscsi", &[3260], Some(Transport::Tcp)),
        service("api", &[8080, 443, 445], None),
    ];
    TargetIndex::new(vec![
        target("qnap", &["192.168.100.180", "fd64::180"], qnap),
        target("lan", &["192.168.0.0/16", "fd64::/16"], vec![service("web", &[443], None)]),
    ])
    .unwrap()
}

fn row(initiator: &str, responder: &str, nexthdr: u8, flags: u8) -> CtRow {
    let [initiator, responder] =
        [initiator, responder].map(|end| end.parse::<std::net::SocketAddr>().unwrap());
    let end = |end: std::net::SocketAddr| Endpoint { address: end.ip(), port: end.port() };
    CtRow::between([end(initiator), end(responder)], nexthdr, flags, 0)
}

fn check(initiator: &str, responder: &str, nexthdr: u8, flags: u8, expected: (&str, &str)) {
    let index = incident();
    let row = row(initiator, responder, nexthdr, flags);
    assert_eq!(row.initiator.to_string(), initiator);
    assert_eq!(index.names(index.classify(&row)), expected, "{initiator} -> {responder}");
}

#[test]
fn the_service_is_named_by_the_port_at_the_address_that_matched() {
    check("10.10.0.5:38820", "192.168.100.180:445", 6, 0, ("qnap", "smb"));
    check("10.10.0.5:445", "192.168.100.180:9", 6, 0, ("qnap", "other"));
    check("192.168.100.180:445", "10.10.0.5:50000", 6, 1, ("qnap", "smb"));
    check("10.10.0.5:38820", "192.168.100.180:3260", 6, 4, ("qnap", "iscsi"));
    check("[fd10::5]:1", "[fd64::180]:8080", 17, 0, ("qnap", "api"));
}

#[test]
fn a_protocol_restricts_a_service() {
    check("10.10.0.5:1", "192.168.100.180:3260", 17, 0, ("qnap", "other"));
}

#[test]
fn protocols_without_ports_are_other() {
    check("10.10.0.5:0", "192.168.100.180:445", 1, 2, ("qnap", "other"));
}

#[test]
fn the_lowest_target_of_either_address_wins() {
    check("192.168.7.7:443", "192.168.100.180:1", 6, 0, ("qnap", "other"));
    check("192.168.100.180:1", "192.168.7.7:443", 6, 0, ("qnap", "other"));
    check("10.10.0.5:1", "192.168.7.7:443", 6, 0, ("lan", "web"));
    check("10.10.0.5:1", "10.10.0.6:443", 6, 0, (NO_TARGET, OTHER_SERVICE));
}

#[test]
fn where_both_addresses_match_the_responders_port_is_asked_first() {
    check("192.168.7.7:443", "192.168.7.8:1", 6, 0, ("lan", "web"));
    let both = "192.168.100.180:3260";
    check(both, "192.168.100.180:445", 6, 0, ("qnap", "smb"));
    check(both, "192.168.100.180:1", 6, 0, ("qnap", "iscsi"));
}

#[test]
fn pairs_are_each_targets_services_and_then_its_other() {
    let index = incident();
    let pairs: Vec<_> = index.pairs().collect();
    let qnap = [("qnap", "smb"), ("qnap", "iscsi"), ("qnap", "api"), ("qnap", "other")];
    assert_eq!(pairs, [&qnap[..], &[("lan", "web"), ("lan", "other")]].concat());
    let found = index.classify(&row("10.0.0.1:1", "192.168.7.7:443", 6, 0)).unwrap();
    assert_eq!(found, TargetMatch { target: 1, service: Some(0), pair: 4 });
}

#[test]
fn a_prefix_inside_one_of_an_earlier_target_belongs_to_the_earlier_one() {
    let index = TargetIndex::new(vec![
        target("wide", &["10.0.0.0/8"], Vec::new()),
        target("narrow", &["10.1.0.0/16", "10.0.0.0/8"], Vec::new()),
    ])
    .unwrap();
    let tables = index.tables();
    let values: Vec<_> = tables.v4.iter().map(|entry| (entry.length, entry.value >> 8)).collect();
    assert_eq!(values, [(8, 0), (16, 0)]);
}

#[test]
fn targets_are_alike_in_the_bits_that_all_their_prefixes_fix() {
    let common = |prefixes: &[&str]| {
        let tables = TargetIndex::new(vec![target("t", prefixes, Vec::new())]).unwrap().tables();
        (tables.common_v4, tables.common_v6)
    };
    let v4 = |care: [u8; 4], value: [u8; 4]| Common { care, value };
    assert_eq!(common(&["192.168.100.180"]).0, v4([255; 4], [192, 168, 100, 180]));
    assert_eq!(common(&["10.0.0.1", "10.0.0.2"]).0.care, [255, 255, 255, 0b1111_1100]);
    assert_eq!(common(&["10.0.0.1", "10.128.0.0/9"]).0.care, [255, 0, 0, 0]);
    assert_eq!(common(&["10.0.0.1", "10.64.0.0/10"]).0.care, [255, 0b1000_0000, 0, 0]);
    assert_eq!(common(&["0.0.0.0/0"]).0.care, [0; 4]);
    let (v4, v6) = common(&["fd64::/64", "fd64::1:0:0:0:0"]);
    assert_eq!(
        (v4.care, v6.care),
        ([255; 4], [255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 0, 0, 0, 0, 0])
    );
}

#[test]
fn more_than_fits_is_an_error_that_counts() {
    let many = |count: usize, prefix: &str| -> Vec<_> {
        (0..count).map(|number| target(&number.to_string(), &[prefix], Vec::new())).collect()
    };
    assert_eq!(TargetIndex::new(many(65, "::/0")).unwrap_err(), TargetError::Targets { found: 65 });
    assert!(TargetIndex::new(many(64, "::/0")).is_ok());

    let services = |count: u16, ports: u16| {
        (0..count)
            .map(|n| service(&n.to_string(), &(n * ports..(n + 1) * ports).collect::<Vec<_>>(), None))
            .collect()
    };
    let error = |services| TargetIndex::new(vec![target("t", &["::/0"], services)]).unwrap_err();
    assert_eq!(error(services(128, 1)), TargetError::Pairs { found: 129 });
    assert_eq!(error(services(2, 700)), TargetError::Ports { found: 4200 });

    let mut wide = target("t", &[], Vec::new());
    wide.prefixes = (0..1025_u32).map(|number| Prefix::host(number.to_be_bytes().into())).collect();
    let expected = TargetError::Prefixes { family: "IPv4", found: 1025 };
    assert_eq!(TargetIndex::new(vec![wide]).unwrap_err(), expected);
}

/// The rule word by word: targets in order, either address, no filter, no trie, no port table.
fn naive(targets: &[TargetSpec], row: &CtRow) -> Option<(usize, Option<usize>)> {
    let inside = |target: &TargetSpec, address: IpAddr| {
        target.prefixes.iter().any(|prefix| match (prefix.address(), address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let length = prefix.length();
                length == 0 || base.to_bits() >> (32 - length) == address.to_bits() >> (32 - length)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let length = prefix.length();
                length == 0 || base.to_bits() >> (128 - length) == address.to_bits() >> (128 - length)
            }
            _ => false,
        })
    };
    let named = |target: &TargetSpec, port: u16| {
        target.services.iter().position(|service| {
            matches!(row.nexthdr, 6 | 17 | 132)
                && service.protocol.is_none_or(|protocol| protocol.nexthdr() == row.nexthdr)
                && service.ports.contains(&port)
        })
    };
    for (number, target) in targets.iter().enumerate() {
        let responder = inside(target, row.responder.address);
        let initiator = inside(target, row.initiator.address);
        if responder || initiator {
            let by_responder = if responder { named(target, row.responder.port) } else { None };
            let by_initiator = if initiator { named(target, row.initiator.port) } else { None };
            return Some((number, by_responder.or(by_initiator)));
        }
    }
    None
}

/// Whether the address has the bits all targets have.
fn near<const N: usize>(common: &Common<N>, address: [u8; N]) -> bool {
    (0..N).all(|octet| (address[octet] ^ common.value[octet]) & common.care[octet] == 0)
}

/// What the kernel side does with the tables: common bits, filters, longest prefix, lowest target, port table.
fn as_in_kernel(tables: &KernelTables, row: &CtRow) -> Option<u32> {
    let bit =
        |filter: usize, index: u16| tables.filters[filter][usize::from(index >> 6)] >> (index & 63) & 1 == 1;
    let longest = |address: IpAddr| -> Option<u32> {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                if !near(&tables.common_v4, address.octets()) {
                    return None;
                }
                if !bit(0, u16::from_be_bytes([a, b])) || !bit(1, u16::from_be_bytes([c, d])) {
                    return None;
                }
                let inside = |entry: &&LpmEntry<[u8; 4]>| {
                    Prefix::new(entry.address.into(), entry.length).unwrap().contains(address.into())
                };
                tables.v4.iter().filter(inside).max_by_key(|entry| entry.length).map(|entry| entry.value)
            }
            IpAddr::V6(address) => {
                let segments = address.segments();
                if !near(&tables.common_v6, address.octets()) {
                    return None;
                }
                if !bit(2, segments[0] ^ segments[1]) || !bit(3, segments[7]) {
                    return None;
                }
                let inside = |entry: &&LpmEntry<[u8; 16]>| {
                    Prefix::new(entry.address.into(), entry.length).unwrap().contains(address.into())
                };
                tables.v6.iter().filter(inside).max_by_key(|entry| entry.length).map(|entry| entry.value)
            }
        }
    };
    let [initiator, responder] = [row.initiator, row.responder].map(|end| longest(end.address));
    let value = [initiator, responder].into_iter().flatten().min_by_key(|value| value >> 8)?;
    let named = [(responder, row.responder.port), (initiator, row.initiator.port)]
        .into_iter()
        .filter(|&(found, _)| found == Some(value) && matches!(row.nexthdr, 6 | 17 | 132))
        .find_map(|(_, port)| {
            let key = port_key(value >> 8, row.nexthdr, port);
            tables.ports.iter().find(|&&(known, _)| known == key).map(|&(_, pair)| pair)
        });
    Some(named.unwrap_or(value & 0xff))
}

/// Addresses from a small world, so that prefixes overlap and addresses hit them.
fn address() -> impl Strategy<Value = IpAddr> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(128), Just(255)];
    prop_oneof![
        prop::array::uniform4(byte.clone()).prop_map(IpAddr::from),
        (prop::array::uniform4(byte.clone()), prop::array::uniform4(byte)).prop_map(|(head, tail)| {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&head);
            octets[12..].copy_from_slice(&tail);
            IpAddr::from(octets)
        }),
    ]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (address(), any::<prop::sample::Index>()).prop_map(|(address, index)| {
        let lengths: &[u8] = if address.is_ipv4() {
            &[0, 1, 7, 8, 15, 16, 17, 24, 31, 32]
        } else {
            &[0, 8, 16, 31, 32, 33, 64, 111, 112, 113, 127, 128]
        };
        Prefix::new(address, *index.get(lengths)).unwrap()
    })
}

fn spec() -> impl Strategy<Value = TargetSpec> {
    let service = (
        prop::collection::vec(0_u16..6, 0..4),
        prop::sample::select(vec![None, Some(Transport::Tcp), Some(Transport::Udp)]),
    )
        .prop_map(|(ports, protocol)| ServiceSpec { name: "s".to_owned(), ports, protocol });
    (prop::collection::vec(prefix(), 0..5), prop::collection::vec(service, 0..4))
        .prop_map(|(prefixes, services)| TargetSpec { name: "t".to_owned(), prefixes, services })
}

fn any_row() -> impl Strategy<Value = CtRow> {
    let nexthdr = prop::sample::select(vec![6_u8, 17, 132, 1, 58, 0]);
    let same_family = (address(), address()).prop_filter("one family", |(a, b)| a.is_ipv4() == b.is_ipv4());
    (same_family, 0_u16..6, 0_u16..6, nexthdr, 0_u8..8).prop_map(
        |((first, second), from, to, nexthdr, flags)| {
            let end = |address, port| std::net::SocketAddr::new(address, port).to_string();
            row(&end(first, from), &end(second, to), nexthdr, flags)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn index_and_kernel_tables_both_follow_the_rule(
        targets in prop::collection::vec(spec(), 0..8),
        rows in prop::collection::vec(any_row(), 1..32),
    ) {
        let index = TargetIndex::new(targets.clone()).unwrap();
        let tables = index.tables();
        for row in &rows {
            let expected = naive(&targets, row);
            let found = index.classify(row);
            prop_assert_eq!(found.map(|found| (found.target, found.service)), expected);
            let in_kernel = as_in_kernel(&tables, row);
            prop_assert_eq!(in_kernel.map(|pair| pair as usize), found.map(|found| found.pair));
            if let Some(found) = found {
                prop_assert_eq!(index.pairs().count() > found.pair, true);
            }
        }
    }

    #[test]
    fn an_address_of_a_target_always_passes_the_filters(
        prefix in prefix(),
        low in any::<u128>(),
    ) {
        let one = TargetSpec { name: "t".to_owned(), prefixes: vec![prefix], services: Vec::new() };
        let index = TargetIndex::new(vec![one]).unwrap();
        let length = prefix.length();
        let inside = match prefix.address() {
            IpAddr::V4(base) => {
                let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
                IpAddr::from((base.to_bits() & !host | low as u32 & host).to_be_bytes())
            }
            IpAddr::V6(base) => {
                let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                IpAddr::from((base.to_bits() & !host | low & host).to_be_bytes())
            }
        };
        prop_assert_eq!(index.target_of(inside), Some(0));
    }
}
