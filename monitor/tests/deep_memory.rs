//! What a deep scan costs in memory on the largest tables.
//!
//! In: entries made up on the fly, every one of them outgoing: the worst case. Out: growth of this process's peak, so
//! this file must stay a process of its own with a single test.

mod peak;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use monitor_decode::cilium::ct::decode_ct;
use monitor_decode::cilium::nat::decode_nat;
use monitor_model::ct::CtRow;
use monitor_model::nat::NatRow;
use monitor_model::target::{TargetIndex, TargetSpec};
use monitor_source::deep::fingerprint::Fingerprints;
use monitor_source::deep::join::{Context, Join, Suspects};
use monitor_source::deep::ports::PortTable;

/// Entries of conntrack, and as many halves of NAT pairs.
const ENTRIES: u32 = 1_000_000;
/// Pairs of which nothing is in conntrack, and halves without another, in every so many.
const STRAY: u32 = 100;
/// Source, destination and translated source of a connection: ports of one range, destinations by the ten thousand.
#[expect(clippy::unwrap_used, reason = "a test's own numbers")]
fn ends(number: u32) -> ([u8; 4], [u8; 2], [u8; 4]) {
    let port = u16::try_from(32_768 + number % 32_768).unwrap();
    let remote = Ipv4Addr::from_bits(0xc0a8_0000 + number / 20).octets();
    let pod = Ipv4Addr::from_bits(0x0af4_0000 + number / 32_768).octets();
    (pod, port.to_be_bytes(), remote)
}

#[expect(clippy::unwrap_used, reason = "a test's own bytes")]
fn ct(number: u32) -> CtRow {
    let (pod, port, remote) = ends(number);
    let key = [&pod[..], &remote, &[0x01, 0xbd], &port, &[6, 0]].concat();
    decode_ct(&key, &[0; 56]).unwrap()
}

#[expect(clippy::unwrap_used, reason = "a test's own bytes")]
fn nat(number: u32, reply: bool) -> NatRow {
    let (pod, port, remote) = ends(number);
    let node = [192, 168, 42, 254];
    let (key, to) = if reply {
        ([&node[..], &remote, &port, &[0x01, 0xbd], &[6, 1]].concat(), pod)
    } else {
        ([&remote[..], &pod, &[0x01, 0xbd], &port, &[6, 0]].concat(), node)
    };
    let mut value = [0; 40];
    value[32..36].copy_from_slice(&to);
    value[36..38].copy_from_slice(&port);
    decode_nat(&key, &value).unwrap()
}

#[test]
fn a_deep_scan_of_a_million_entries_each_fits_in_what_it_may_take() {
    let fingerprints = Fingerprints::default();
    let qnap = TargetSpec {
        name: "qnap".to_owned(),
        prefixes: vec!["192.168.0.0/16".parse().unwrap()],
        services: Vec::new(),
    };
    let targets = TargetIndex::new(vec![qnap]).unwrap();
    let context = Context {
        fingerprints: &fingerprints,
        targets: &targets,
        tcp_timeout: Some(Duration::from_secs(8_000)),
        host: None,
    };
    let before = peak::kib();
    let begun = Instant::now();
    let mut suspects: Option<Suspects> = None;
    let expected = usize::try_from(ENTRIES).unwrap();
    let mut confirmed = None;
    for _ in 0..2 {
        let mut join = Join::new(&context, expected);
        (0..ENTRIES).filter(|number| number % STRAY != 0).for_each(|number| join.ct(&ct(number), None));
        let mut join = join.finish_ct(false, expected);
        let mut ports = PortTable::new(32_768..=65_535);
        for number in 0..ENTRIES / 2 {
            join.nat(&nat(number, false), &mut ports);
            if number % STRAY != 1 {
                join.nat(&nat(number, true), &mut ports);
            }
        }
        let joined = join.finish(suspects.as_ref());
        confirmed = joined.confirmed;
        suspects = Some(joined.suspects);
    }
    let took = begun.elapsed();
    let stray = u64::from(ENTRIES / 2 / STRAY);
    assert_eq!(confirmed, Some((2 * stray, stray)), "the strays, and nothing else");
    let grown = peak::kib() - before;
    println!("peak growth {grown} KiB, two scans in {took:?}");
    assert!(grown > 0 && grown < peak::MOST_KIB, "the peak grew by {grown} KiB");
}
