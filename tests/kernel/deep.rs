//! The deep scan on real maps: what was planted is found, and nothing else.
//!
//! In: captured and generated maps; sockets in a network namespace of the test's own. Out: pass or fail.
//! Must not: open a connection outside that namespace.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use monitor_model::snapshot::deep::{DeepFacts, TargetDeep, Untracked};
use monitor_source::collect::Collector;
use monitor_source::deep::DeepScan;
use monitor_source::host::sockets::MAX_SOCKETS;
use support::cilium::{Capacities, MapName, Maps};
use support::cli_text;
use support::clock::Clock;
use support::fixture::{self, Lifetimes};
use support::network::{self, ip};
use support::node::Node;
use support::reference::{Service, Target};
use support::simulate::entry::{
    CtValue, Facing, RX_CLOSING, SEEN_NON_SYN, TCP, TX_CLOSING, ct_key, nat_in_key, nat_out_key, nat_value,
};

use crate::collect::collector;

const NAS: &str = "192.168.100.180";
const NODE: &str = "192.168.100.10";
/// `DSRInternal`.
const DSR: u16 = 0x80;
const LIVING: i64 = 7_000;

fn qnap() -> Result<Vec<Target>> {
    let service = Service { name: "smb", ports: vec![445], protocol: None };
    Ok(vec![Target { name: "qnap", networks: vec![(NAS.parse()?, 32)], services: vec![service] }])
}

fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, port))
}

/// Two deep scans in a row; what the second says.
fn scan_twice(collector: &mut Collector) -> Result<DeepFacts> {
    let snapshot = collector.collect();
    let mut deep = DeepScan::default();
    let first = deep.run(collector, &snapshot, &(32_768..=65_535)).facts.context("the first failed")?;
    ensure!(first.nat.iter().all(|nat| nat.orphans.is_none()), "one scan proves nothing: {first:?}");
    let second = deep.run(collector, &snapshot, &(32_768..=65_535));
    ensure!(second.source.error.is_none(), "{:?}", second.source);
    second.facts.context("the second failed")
}

fn only_target(facts: &DeepFacts) -> Result<&TargetDeep> {
    let [target] = facts.targets.as_slice() else { anyhow::bail!("{:?}", facts.targets) };
    Ok(target)
}

#[test]
fn captured_maps_are_whole_and_their_ports_are_those_cilium_lists() -> Result<()> {
    let node = Node::new("")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let facts = scan_twice(&mut collector(&node, &qnap()?)?)?;
    let lines = cli_text::nat_lines(fixture::NAT_LIST)?;
    assert_eq!(facts.entries, 399 + lines.len() as u64);
    let mut ports: BTreeMap<(MapName, IpAddr, cli_text::Endpoint, &str), u64> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.facing == "IN" && line.protocol != "ICMP") {
        if line.protocol != "ICMPv6" && line.destination.port >= 32_768 {
            *ports.entry((line.map, line.destination.address, line.source, line.protocol)).or_default() += 1;
        }
    }
    assert!(ports.len() > 3, "the capture has several destinations");
    assert_eq!(facts.nat.len(), 2);
    for nat in &facts.nat {
        assert_eq!((nat.orphans, nat.broken_pairs), (Some(0), Some(0)), "{}", nat.map_name);
        let of_map = ports.iter().filter(|((map, ..), _)| map.label() == nat.map_name);
        let most = of_map.map(|(_, ports)| *ports).max().context("no ports")?;
        let found = (nat.port_usage_max * 32_768.0).round();
        assert!(
            (found - f64::from(u32::try_from(most)?)).abs() < 0.5,
            "{}: {found} is not {most}",
            nat.map_name
        );
    }
    let smb = facts.services.iter().find(|service| service.service == "smb").context("no service")?;
    let expected = ports
        .iter()
        .filter(|((_, _, remote, _), _)| remote.address.to_string() == NAS && remote.port == 445)
        .map(|(_, ports)| *ports)
        .max();
    assert_eq!(Some(smb.ports_used), expected);
    let fullest = facts.fullest.first().context("no destination")?;
    assert_eq!(Some(fullest.ports), ports.values().copied().max());
    Ok(())
}

/// Maps to plant entries in. On the clock of jiffies, which has a past of weeks on a machine that booted just now.
struct Field<'m> {
    maps: &'m Maps,
    clock: Clock,
}

impl<'m> Field<'m> {
    fn new(maps: &'m Maps) -> Result<Self> {
        Ok(Self { maps, clock: Clock::jiffies()? })
    }

    /// So many seconds from now.
    fn at(&self, left: i64) -> Result<u32> {
        let now = self.clock.now()?;
        Ok(u32::try_from(i64::from(now) + self.clock.units().reference(now).units(left))?)
    }

    fn ct(&self, facing: Facing, from: SocketAddr, to: SocketAddr, flags: u16, left: i64) -> Result<()> {
        let timeout = match flags & (SEEN_NON_SYN | RX_CLOSING | TX_CLOSING) {
            0 => 60,
            flags if flags & RX_CLOSING != 0 && flags & TX_CLOSING != 0 => 10,
            _ => 8_000,
        };
        let (lifetime, last_tx_report) = (self.at(left)?, self.at(left - timeout)?.max(1));
        let value = CtValue { lifetime, flags, last_tx_report, ..CtValue::default() };
        self.maps.get(MapName::Ct4).update(&ct_key(facing, from, to, TCP), &value.to_bytes())
    }

    fn nat_out(&self, from: SocketAddr, to: SocketAddr, translated: SocketAddr) -> Result<()> {
        let value = nat_value(self.at(-5)?, false, translated);
        self.maps.get(MapName::Snat4).update(&nat_out_key(from, to, TCP), &value)
    }

    fn nat_in(&self, from: SocketAddr, to: SocketAddr, translated: SocketAddr) -> Result<()> {
        let value = nat_value(self.at(-5)?, false, from);
        self.maps.get(MapName::Snat4).update(&nat_in_key(to, translated, TCP), &value)
    }

    /// A masqueraded connection with everything that belongs to it.
    fn whole(&self, from: SocketAddr, to: SocketAddr, translated: SocketAddr) -> Result<()> {
        self.ct(Facing::Out, from, to, SEEN_NON_SYN, LIVING)?;
        self.nat_out(from, to, translated)?;
        self.nat_in(from, to, translated)
    }
}

#[test]
fn planted_orphans_half_pairs_and_collisions_are_found_and_nothing_else() -> Result<()> {
    let config = "targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]\n\
                  targets_from_host: false\nclock: jiffies\n";
    let node = Node::new(config)?;
    let maps = Maps::create(&node.bpffs, Capacities::SMALL, 0)?;
    let field = Field::new(&maps)?;
    let (smb, web) = (at(NAS, 445)?, at("203.0.113.7", 443)?);
    for port in 40_000..40_300 {
        let remote = if port % 3 == 0 { web } else { smb };
        field.whole(at("10.244.0.10", port)?, remote, at(NODE, port)?)?;
        // Ordinary incoming entries are no collisions.
        field.ct(Facing::In, at("192.168.100.50", port)?, at("10.244.0.20", 8_080)?, SEEN_NON_SYN, LIVING)?;
    }
    // Two pairs and one half without a conntrack entry, of which one pair is the target's.
    for (port, remote) in [(50_000, smb), (50_001, web)] {
        field.nat_out(at("10.244.0.11", port)?, remote, at(NODE, port)?)?;
        field.nat_in(at("10.244.0.11", port)?, remote, at(NODE, port)?)?;
    }
    field.nat_in(at("10.244.0.11", 50_002)?, web, at(NODE, 50_002)?)?;
    // Three halves with a conntrack entry, of which two are the target's.
    for (port, remote) in [(51_000, smb), (51_001, smb), (51_002, web)] {
        field.ct(Facing::Out, at("10.244.0.12", port)?, remote, SEEN_NON_SYN, LIVING)?;
        field.nat_out(at("10.244.0.12", port)?, remote, at(NODE, port)?)?;
    }
    // A reply that DSR translates has no other half.
    field.ct(
        Facing::Out,
        at("198.51.100.4", 33_000)?,
        at("10.244.0.13", 8_080)?,
        SEEN_NON_SYN | DSR,
        LIVING,
    )?;
    field.nat_out(at("10.244.0.13", 8_080)?, at("198.51.100.4", 33_000)?, at(NODE, 30_080)?)?;
    // Collisions: two dead ones, one alive; from another port, or to a low one, is none.
    let closed = SEEN_NON_SYN | RX_CLOSING | TX_CLOSING;
    for (port, flags, left) in [(52_000, closed, -1_000), (52_001, SEEN_NON_SYN, -5), (52_002, 0, 55)] {
        field.ct(Facing::In, smb, at("10.244.0.14", port)?, flags, left)?;
    }
    field.ct(Facing::In, at(NAS, 50_445)?, at("10.244.0.14", 52_003)?, SEEN_NON_SYN, LIVING)?;
    field.ct(Facing::In, smb, at("10.244.0.14", 8_080)?, SEEN_NON_SYN, LIVING)?;

    let facts = scan_twice(&mut collector(&node, &qnap()?)?)?;
    let snat4 = facts.nat.iter().find(|nat| nat.map_name == "snat_v4_external").context("no map")?;
    assert_eq!((snat4.orphans, snat4.broken_pairs), (Some(2 * 2 + 1), Some(1 + 3)));
    let target = only_target(&facts)?;
    assert_eq!((target.orphans, target.broken_pairs), (Some(2), Some(2)));
    assert_eq!((target.collisions, target.collisions_alive), (3, Some(1)));
    let used: Vec<_> =
        facts.services.iter().map(|service| (service.service.as_str(), service.ports_used)).collect();
    assert_eq!(used, [("smb", 200 + 1), ("other", 0)]);
    assert_eq!(node.count(&["list", "--collisions", "--count"])?, 3);
    let listed = node.said(&["list", "--collisions"])?;
    for blocked in ["10.244.0.14:52000", "10.244.0.14:52001", "10.244.0.14:52002"] {
        assert!(listed.contains(blocked), "{listed}");
    }
    let top = node.said(&["top", "--by", "nat-ports", "--limit", "1"])?;
    assert!(top.contains("192.168.100.180:445") && top.contains(" 201 "), "{top}");
    let check = node.ctmon(&["check", "-o", "json"])?;
    assert_eq!(check.status.code(), Some(1), "{}", check.stderr);
    let collision = check.stdout.lines().find(|line| line.contains("CtmonReverseTupleCollision"));
    let collision = collision.with_context(|| check.stdout.clone())?;
    assert!(collision.contains("3 entries") && collision.contains("1 of them kept alive"), "{collision}");
    Ok(())
}

/// Runs a test in a network namespace that has the node's and the server's address; gone with its thread.
fn in_own_network(test: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    network::alone(|| {
        for address in [NODE, NAS] {
            ip(&format!("address add {address}/32 dev lo"))?;
        }
        test()
    })
}

/// Where the kernel takes clients' ports from: read and written in the namespace of the thread that asks.
fn set_local_ports(ports: &str) -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", ports).context("failed to set the port range")
}

/// A connection from the node to the server, both ends.
fn connect(listener: &TcpListener, ports: &str) -> Result<(TcpStream, TcpStream)> {
    set_local_ports(ports)?;
    // The route's preferred source would be the server's own address.
    ip(&format!("route replace {NAS}/32 dev lo src {NODE} table local"))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    ensure!(client.local_addr()?.ip().to_string() == NODE, "the client is {}", client.local_addr()?);
    let (server, _) = listener.accept()?;
    Ok((client, server))
}

#[test]
fn ghosts_and_untracked_sockets_are_told_by_real_sockets() -> Result<()> {
    in_own_network(|| {
        let node = Node::with_our_network("")?;
        let maps = Maps::create(&node.bpffs, Capacities::SMALL, 0)?;
        let field = Field::new(&maps)?;
        let smb = at(NAS, 445)?;
        let listener = TcpListener::bind(smb)?;
        let mut held = Vec::new();
        // Three tracked connections, one that has no entry, two from ports Cilium leaves alone.
        for number in 0..4 {
            let ends = connect(&listener, "40000 41000")?;
            if number < 3 {
                // Silent since long: that a socket stands behind it is all that tells it from a ghost.
                field.ct(Facing::Out, ends.0.local_addr()?, smb, SEEN_NON_SYN, 1_000)?;
            }
            held.push(ends);
        }
        for _ in 0..2 {
            held.push(connect(&listener, "2000 2100")?);
        }
        // Ended ones beyond the bound: a minute old at the most, so they stand behind nothing that is silent since long.
        set_local_ports("50000 51000")?;
        for _ in 0..MAX_SOCKETS + 10 {
            // The side that closes first stays in TIME_WAIT.
            drop(TcpStream::connect(smb)?);
            drop(listener.accept()?);
        }
        // One whose socket is gone: it was tracked, and is silent for a thousand seconds.
        field.ct(Facing::Out, at(NODE, 45_000)?, smb, SEEN_NON_SYN, LIVING)?;
        // No ghosts: a packet just now, closed, of a pod.
        field.ct(Facing::Out, at(NODE, 45_001)?, smb, SEEN_NON_SYN, 8_000)?;
        field.ct(Facing::Out, at(NODE, 45_002)?, smb, SEEN_NON_SYN | RX_CLOSING | TX_CLOSING, -900)?;
        field.ct(Facing::Out, at("10.244.0.10", 45_003)?, smb, SEEN_NON_SYN, LIVING)?;

        let facts = scan_twice(&mut collector(&node, &qnap()?)?)?;
        let target = only_target(&facts)?;
        assert_eq!(target.ghosts, Some(1), "{target:?}");
        let expected = Untracked { low_port: 2, unknown: 1, ..Untracked::default() };
        assert_eq!(target.untracked, Some(expected), "{target:?}");
        Ok(())
    })
}

#[test]
fn from_a_network_of_its_own_nothing_is_said_of_the_nodes_sockets() -> Result<()> {
    in_own_network(|| {
        let node = Node::new(&format!(
            "{{targets_from_host: false, targets: [{{name: qnap, addresses: [{NAS}], services: [{{name: smb, ports: [445]}}]}}]}}"
        ))?;
        let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
        let page = node.scrape()?;
        assert!(page.sum("ctmon_ct_entries", &[]).is_some(), "conntrack does not depend on it");
        for name in ["ctmon_target_sockets", "ctmon_target_stalled_sockets"] {
            assert_eq!(page.sum(name, &[]), None, "{name} would be a statement about the node");
        }
        assert_eq!(page.value("ctmon_source_up", &[("source", "sockets")]), Some(0.0));
        let mut collector = collector(&node, &qnap()?)?;
        let snapshot = collector.collect();
        let outcome = DeepScan::default().run(&mut collector, &snapshot, &(32_768..=65_535));
        let facts = outcome.facts.context("the rest of the deep scan does not depend on it")?;
        let target = only_target(&facts)?;
        assert_eq!((target.ghosts, target.untracked), (None, None));
        let check = node.ctmon(&["check", "-o", "json"])?;
        let down = check.stdout.lines().find(|line| line.contains("CtmonSourceDown"));
        let down = down.with_context(|| check.stdout.clone())?;
        assert!(down.contains("hostNetwork: true"), "{down}");
        Ok(())
    })
}
