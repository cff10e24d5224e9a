//! Cilium's counters in real per-CPU maps: drops of both key layouts, tries at source ports.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use monitor_model::drops::{DropReason, RETRIES};
use monitor_source::cilium::drops::{DropsError, read_packets, read_retries};
use monitor_source::collect::Collector;
use support::bpffs::Bpffs;
use support::cilium::{Capacities, MapName, Maps};
use support::node::{Node, second, whole};
use support::page::Page;
use support::simulate::entry::{TCP, nat_in_key, nat_value};
use support::sys::{Kind, Map, Spec};

use crate::daemon::{END, start};

const METRICS: Spec<'static> = Spec {
    name: "cilium_metrics",
    kind: Kind::PercpuHash,
    key_size: 8,
    value_size: 16,
    max_entries: 1024,
    flags: 0,
    inner: None,
};

/// Pins `cilium_metrics` with these counters: key, and packets of each CPU in turn.
fn metrics(bpffs: &Bpffs, counters: &[([u8; 8], u64)]) -> Result<Map> {
    let map = Map::create(&METRICS)?;
    for (key, packets) in counters {
        // CPU n counted n more; bytes stand beside the packets.
        let shares = (0..map.value_len() / 16).flat_map(|cpu| [packets + cpu as u64, 1_000_000]);
        let value: Vec<u8> = shares.flat_map(u64::to_ne_bytes).collect();
        map.update(key, &value)?;
    }
    map.pin(&bpffs.pin("cilium_metrics"))?;
    Ok(map)
}

/// Pins the counters of tries at IPv4 source ports, as 1.18 has them.
fn retries(bpffs: &Bpffs, slots: u32) -> Result<Map> {
    let name = "cilium_snat_v4_alloc_retries";
    let map = Map::create(&Spec {
        name,
        kind: Kind::PercpuArray,
        key_size: 4,
        value_size: 4,
        max_entries: slots,
        ..METRICS
    })?;
    map.pin(&bpffs.pin(name))?;
    Ok(map)
}

/// What a counter of so many packets on the first CPU sums up to.
fn over_cpus(packets: u64) -> Result<u64> {
    let cpus = support::sys::possible_cpus()? as u64;
    Ok(packets * cpus + cpus * (cpus - 1) / 2)
}

#[test]
fn drops_are_summed_over_cpus_lines_and_files_in_cilium_s_words() -> Result<()> {
    let node = Node::new("")?;
    let _maps = Maps::create(&node.bpffs, Capacities::SMALL, 0)?;
    let _metrics = metrics(
        &node.bpffs,
        &[
            // As up to 1.15: nothing after the direction.
            ([155, 2, 0, 0, 0, 0, 0, 0], 10),
            // As from 1.16 on: two lines of one file, and one of another.
            ([155, 2, 0x34, 0x12, 1, 0, 0, 0], 100),
            ([155, 2, 0x35, 0x12, 1, 0, 0, 0], 1_000),
            ([155, 1, 0x34, 0x12, 7, 0, 0, 0], 5),
            ([167, 2, 1, 0, 1, 0, 0, 0], 77),
            ([191, 3, 1, 0, 1, 0, 0, 0], 3),
            // Forwarded, and a denial by policy: not ours.
            ([0, 2, 1, 0, 1, 0, 0, 0], 123_456),
            ([133, 1, 1, 0, 1, 0, 0, 0], 9),
        ],
    )?;
    let page = node.scrape()?;
    let count = |reason: &str, direction: &str| {
        whole(page.value("ctmon_datapath_drops_total", &[("reason", reason), ("direction", direction)]))
    };
    let egress = over_cpus(10)? + over_cpus(100)? + over_cpus(1_000)?;
    assert_eq!(count("CT: Map insertion failed", "EGRESS")?, egress);
    assert_eq!(count("CT: Map insertion failed", "INGRESS")?, over_cpus(5)?);
    assert_eq!(count("No mapping for NAT masquerade", "EGRESS")?, over_cpus(77)?);
    assert_eq!(count("No nat map found", "SERVICE")?, over_cpus(3)?);
    assert_eq!(count("First logical datagram fragment not found", "UNKNOWN")?, 0, "0 from the start");
    assert_eq!(page.matching("ctmon_datapath_drops_total", &[]).count(), 9 * 4);
    assert_eq!(page.value("ctmon_source_up", &[("source", "drops")]), Some(1.0));
    assert_eq!(page.matching("ctmon_nat_alloc_retries_total", &[]).count(), 0, "no such map");
    Ok(())
}

#[test]
fn tries_at_a_source_port_are_counted_in_classes_whatever_the_number_of_slots() -> Result<()> {
    for slots in [33_u32, 129] {
        let bpffs = Bpffs::mount()?;
        let map = retries(&bpffs, slots)?;
        for slot in 0..slots {
            // One each on every CPU, and the largest number there is where none was found.
            let count = if slot + 1 == slots { u32::MAX } else { 1 };
            let share = u64::from(count).to_ne_bytes();
            map.update(&slot.to_ne_bytes(), &share.repeat(map.value_len() / 8))?;
        }
        let found = read_retries(bpffs.root())?.context("there is a map")?;
        let cpus = support::sys::possible_cpus()? as u64;
        let tried = u64::from(slots) - 1 - 17;
        let expected = [1, 4, 12, tried, u64::from(u32::MAX)].map(|count| count * cpus);
        assert_eq!(found, [("ipv4", expected)], "{slots} slots, classes {RETRIES:?}");
        assert_eq!(read_packets(bpffs.root())?, None);
    }
    Ok(())
}

#[test]
fn absent_counters_are_off_and_strange_ones_down() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    assert_eq!(read_packets(bpffs.root())?, None);
    assert_eq!(read_retries(bpffs.root())?, None);
    Map::create(&Spec { key_size: 12, ..METRICS })?.pin(&bpffs.pin("cilium_metrics"))?;
    let error = read_packets(bpffs.root()).expect_err("another layout");
    assert!(matches!(error, DropsError::Layout { key: 12, value: 16, .. }), "{error}");
    bpffs.unpin("cilium_metrics")?;
    Map::create(&Spec { kind: Kind::Hash, ..METRICS })?.pin(&bpffs.pin("cilium_metrics"))?;
    let error = read_packets(bpffs.root()).expect_err("another kind of map").to_string();
    assert!(error.contains("cilium_metrics") && error.contains("no per-CPU counters"), "{error}");
    Ok(())
}

#[test]
fn a_pin_that_was_replaced_is_read_anew_and_one_that_nobody_counts_in_is_no_zero() -> Result<()> {
    let node = Node::new("targets_from_host: false\n")?;
    let _maps = Maps::create(&node.bpffs, Capacities::SMALL, 0)?;
    let forwarded = ([0, 2, 1, 0, 1, 0, 0, 0], 1_000);
    let _old = metrics(&node.bpffs, &[forwarded, ([155, 2, 1, 0, 1, 0, 0, 0], 40)])?;
    let mut collector = crate::collect::collector(&node, &[])?;
    let dropped = |collector: &mut Collector| {
        let snapshot = collector.collect();
        let error = snapshot
            .sources
            .iter()
            .find(|source| source.name == "drops")
            .and_then(|source| source.error.clone());
        (snapshot.drops.and_then(|drops| drops.of(DropReason::CtCreateFailed)), error)
    };
    assert_eq!(dropped(&mut collector), (Some(over_cpus(40)?), None));

    // As `cilium-dbg bpf metrics list` does where maps are preallocated; the datapath goes on in the old map.
    node.bpffs.unpin("cilium_metrics")?;
    let new = metrics(&node.bpffs, &[])?;
    let (packets, error) = dropped(&mut collector);
    assert_eq!(packets, None, "nobody counts there: that is not none");
    assert!(error.as_ref().is_some_and(|words| words.contains("cilium-dbg bpf metrics list")), "{error:?}");
    let page = node.scrape()?;
    assert_eq!(page.value("ctmon_source_up", &[("source", "drops")]), Some(0.0));
    assert_eq!(page.matching("ctmon_datapath_drops_total", &[]).count(), 0);

    // The agent was restarted.
    let value: Vec<u8> =
        [7_u64, 0].repeat(new.value_len() / 16).into_iter().flat_map(u64::to_ne_bytes).collect();
    new.update(&forwarded.0, &value)?;
    assert_eq!(dropped(&mut collector), (Some(0), None));
    Ok(())
}

#[test]
fn ports_are_counted_anew_as_soon_as_the_kernel_has_to_look_for_them() -> Result<()> {
    let node = Node::new(
        "{listen: '127.0.0.1:0', interval: 1s, deep_interval: 1h, clock: ktime, targets_from_host: false,\
          targets: [{name: qnap, addresses: [192.168.100.180], services: [{name: smb, ports: [445]}]}]}",
    )?;
    let maps = Maps::create(&node.bpffs, Capacities::SMALL, 0)?;
    let tries = retries(&node.bpffs, 33)?;
    let (smb, node_address) = ("192.168.100.180:445".parse()?, IpAddr::from([192, 168, 100, 10]));
    let masquerade = |port: u16| {
        let translated = SocketAddr::new(node_address, port);
        let value = nat_value(second()?, false, SocketAddr::new(IpAddr::from([10, 244, 0, 10]), port));
        maps.get(MapName::Snat4).update(&nat_in_key(smb, translated, TCP), &value)
    };
    masquerade(40_000)?;
    let mut running = start(&node)?;
    let used = |page: &Page| {
        page.value("ctmon_target_nat_ports_used", &[("target", "qnap"), ("target_service", "smb")])
    };
    let page = running.page(|page| used(page).is_some())?;
    assert_eq!(used(&page), Some(1.0));
    for port in 40_001..40_300 {
        masquerade(port)?;
    }
    // The next deep scan is due in an hour, and the page says how old the last one is.
    let page = running.page(|page| page.value("ctmon_deep_scan_age_seconds", &[]) >= Some(2.0))?;
    assert_eq!(used(&page), Some(1.0));
    let share = 5_u64.to_ne_bytes();
    tries.update(&32_u32.to_ne_bytes(), &share.repeat(tries.value_len() / 8))?;
    let page = running.page(|page| used(page) != Some(1.0))?;
    assert_eq!(used(&page), Some(300.0));
    assert!(page.value("ctmon_deep_scan_age_seconds", &[]) < Some(2.0));
    assert_eq!(running.daemon.stop(END)?.code(), Some(0));
    Ok(())
}
