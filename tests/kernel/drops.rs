//! Cilium's counters in real per-CPU maps: drops of both key layouts, tries at source ports.

use anyhow::{Context, Result};
use monitor::source::cilium::drops::{DropsError, RETRIES, read_drops};
use support::bpffs::Bpffs;
use support::cilium::{Capacities, Maps};
use support::sys::{Kind, Map, Spec};

use support::node::{Node, whole};

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
        let spec = Spec {
            name: "cilium_snat_v4_alloc_retries",
            kind: Kind::PercpuArray,
            key_size: 4,
            value_size: 4,
            max_entries: slots,
            ..METRICS
        };
        let map = Map::create(&spec)?;
        for slot in 0..slots {
            // One each on every CPU, and the largest number there is where none was found.
            let count = if slot + 1 == slots { u32::MAX } else { 1 };
            let share = u64::from(count).to_ne_bytes();
            map.update(&slot.to_ne_bytes(), &share.repeat(map.value_len() / 8))?;
        }
        map.pin(&bpffs.pin("cilium_snat_v4_alloc_retries"))?;
        let found = read_drops(bpffs.root())?.context("there is a map")?;
        let cpus = support::sys::possible_cpus()? as u64;
        let tried = u64::from(slots) - 1 - 17;
        let expected = [1, 4, 12, tried, u64::from(u32::MAX)].map(|count| count * cpus);
        assert_eq!(found.retries, [("ipv4", expected)], "{slots} slots, classes {RETRIES:?}");
        assert_eq!(found.packets, None);
    }
    Ok(())
}

#[test]
fn absent_counters_are_off_and_strange_ones_down() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    assert_eq!(read_drops(bpffs.root())?, None);
    Map::create(&Spec { key_size: 12, ..METRICS })?.pin(&bpffs.pin("cilium_metrics"))?;
    let error = read_drops(bpffs.root()).expect_err("another layout");
    assert!(matches!(error, DropsError::Layout { key: 12, value: 16, .. }), "{error}");
    bpffs.unpin("cilium_metrics")?;
    Map::create(&Spec { kind: Kind::Hash, ..METRICS })?.pin(&bpffs.pin("cilium_metrics"))?;
    let error = read_drops(bpffs.root()).expect_err("another kind of map").to_string();
    assert!(error.contains("cilium_metrics") && error.contains("no per-CPU counters"), "{error}");
    Ok(())
}
