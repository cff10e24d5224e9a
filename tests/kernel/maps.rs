//! Maps as they come and go: re-created, late, gone, of another shape, many, large, written to while read.
//!
//! In: maps of Cilium's shape in private bpffs. Out: pass or fail.
//! Must not: write to a map through what the agent opened, but to see it refused.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use monitor_abi::scan::found;
use monitor_model::eviction_plan::Choice;
use monitor_model::map_name::{self, ProblemReason};
use monitor_model::snapshot::{Content, MapState, PresentMap, Snapshot};
use monitor_source::bpf::{Ask, Kernel};
use monitor_source::cilium::pins;
use support::cilium::{self, Capacities, MapName, Maps};
use support::clock::Clock;
use support::fixture::{self, Lifetimes};
use support::generate::{self, Random};
use support::node::{Node, memory_mib, second, whole};
use support::page::Page;
use support::sys::{Kind, Map, NO_COMMON_LRU, Spec, possible_cpus};
use support::{host, reference};

use crate::collect::collector;

fn state<'s>(snapshot: &'s Snapshot, label: &str) -> Result<&'s MapState> {
    snapshot.maps.iter().find(|map| map.map.name == label).with_context(|| format!("{label} is not listed"))
}

fn present<'s>(snapshot: &'s Snapshot, label: &str) -> Result<&'s PresentMap> {
    match &state(snapshot, label)?.content {
        Content::Present(present) => Ok(present),
        other => anyhow::bail!("{label} is not present: {other:?}"),
    }
}

fn is_absent(snapshot: &Snapshot, label: &str) -> Result<bool> {
    Ok(matches!(state(snapshot, label)?.content, Content::Absent))
}

/// One target that owns every address.
fn everything() -> Vec<reference::Target> {
    let networks = vec![([0, 0, 0, 0].into(), 0), ([0_u16; 8].into(), 0)];
    vec![reference::Target { name: "all", networks, services: Vec::new() }]
}

fn target_entries(snapshot: &Snapshot) -> u64 {
    snapshot.targets.iter().map(|state| state.count(|_| true)).sum()
}

#[test]
fn a_recreated_map_is_noticed_within_one_collection_and_counted() -> Result<()> {
    let node = Node::new("")?;
    let maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut collector = collector(&node, &everything())?;
    let first = collector.collect();
    let label = MapName::Ct4.label();
    assert_eq!(present(&first, label)?.id, maps.get(MapName::Ct4).info().id);
    assert_eq!((present(&first, label)?.scan.entries, target_entries(&first)), (335, 399));
    assert_eq!(state(&first, label)?.recreations, 0);
    for times in 1..=3 {
        let new = cilium::recreate(&node.bpffs, MapName::Ct4, 8_192)?;
        generate::fill(&new, 100, reference::Clock::ktime(second()?))?;
        let snapshot = collector.collect();
        let map = present(&snapshot, label)?;
        assert_eq!((map.id, map.capacity), (new.info().id, new.info().max_entries));
        assert_eq!((map.scan.entries, target_entries(&snapshot)), (100, 164));
        assert_eq!(state(&snapshot, label)?.recreations, times);
        assert_eq!(state(&snapshot, MapName::Ct6.label())?.recreations, 0, "the others are the same");
    }
    Ok(())
}

#[test]
fn pins_that_appear_later_are_picked_up_and_a_pin_that_vanishes_is_absent() -> Result<()> {
    let node = Node::new("")?;
    let mut collector = collector(&node, &everything())?;
    let snapshot = collector.collect();
    for name in MapName::ALL {
        assert!(is_absent(&snapshot, name.label())?, "{}", name.label());
    }
    let conntrack = snapshot.sources.iter().find(|source| source.name == "conntrack").context("no source")?;
    let error = conntrack.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("no conntrack map is pinned below "), "{error}");
    assert_eq!(snapshot.totals.scan_errors, 0, "no data is no error");

    let maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let snapshot = collector.collect();
    assert_eq!(present(&snapshot, "ct4_global")?.scan.entries, 335);
    assert_eq!(target_entries(&snapshot), 399);
    assert!(snapshot.sources.iter().all(|source| source.error.is_none()), "{:?}", snapshot.sources);

    // No IPv6 and no NAT: normal, and no finding.
    for name in [MapName::Ct6, MapName::CtAny6, MapName::Snat6] {
        node.bpffs.unpin(name.pin())?;
    }
    let snapshot = collector.collect();
    assert!(is_absent(&snapshot, "ct6_global")? && is_absent(&snapshot, "snat_v6_external")?);
    assert_eq!(target_entries(&snapshot), 345, "what is gone belongs to nobody any more");
    assert!(snapshot.sources.iter().all(|source| source.error.is_none()), "{:?}", snapshot.sources);

    // The same map again is no re-creation, another one is, even after a collection without any.
    maps.get(MapName::Ct6).pin(&node.bpffs.pin(MapName::Ct6.pin()))?;
    let _new = cilium::create(&node.bpffs, MapName::CtAny6, MapName::CtAny6.pin(), 2_048, 0)?;
    let snapshot = collector.collect();
    assert_eq!(present(&snapshot, "ct6_global")?.scan.entries, 48);
    assert_eq!(state(&snapshot, "ct6_global")?.recreations, 0);
    assert_eq!(state(&snapshot, "ct_any6_global")?.recreations, 1);
    Ok(())
}

/// Pins a map of another kind or size in place of one of Cilium's.
fn replace(node: &Node, name: MapName, kind: Kind, value_size: u32) -> Result<Map> {
    node.bpffs.unpin(name.pin())?;
    let key_size = if kind == Kind::Array { 4 } else { name.key_size() };
    let spec = Spec { name: "other", kind, key_size, value_size, max_entries: 64, flags: 0, inner: None };
    let map = Map::create(&spec)?;
    map.pin(&node.bpffs.pin(name.pin()))?;
    Ok(map)
}

#[test]
fn a_map_of_another_shape_affects_that_map_alone_and_says_why() -> Result<()> {
    let node = Node::new("targets_from_host: false\n")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut collector = collector(&node, &everything())?;
    assert_eq!(target_entries(&collector.collect()), 399);
    let _others = [
        replace(&node, MapName::Ct4, Kind::LruHash, 48)?,
        replace(&node, MapName::Ct6, Kind::Hash, 56)?,
        replace(&node, MapName::Snat4, Kind::Array, 8)?,
    ];
    // What is not a map at all.
    std::fs::create_dir(node.bpffs.pin("cilium_per_cluster_ct_tcp4_7"))?;
    let wrong = [
        ("ct4_global", ProblemReason::Layout, "values of 48 bytes, expected 14 and 56"),
        ("ct6_global", ProblemReason::Type, "is of type 1, expected 9 (LRU hash)"),
        ("snat_v4_external", ProblemReason::Type, "is of type 2, expected 9 (LRU hash)"),
        ("per_cluster_ct_tcp4_7", ProblemReason::Refused, "failed to open pinned map"),
    ];
    let snapshot = collector.collect();
    for (label, reason, words) in wrong {
        let Content::Problem(problem) = &state(&snapshot, label)?.content else {
            anyhow::bail!("{label} has no problem");
        };
        assert_eq!(problem.reason, reason, "{label}");
        assert!(problem.detail.contains(words), "{label}: {}", problem.detail);
    }
    assert_eq!(present(&snapshot, "ct_any4_global")?.scan.entries, 10);
    assert_eq!(present(&snapshot, "snat_v6_external")?.scan.entries, 102);
    assert_eq!(target_entries(&snapshot), 16, "numbers of maps that are gone are not kept");

    let finished = node.ctmon(&["scrape"])?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    let page = Page::parse(&finished.stdout)?;
    for (label, reason, _) in wrong {
        let labels = [("map_name", label), ("reason", reason.name())];
        assert_eq!(page.value("ctmon_map_problem", &labels), Some(1.0), "{label}");
        assert_eq!(whole(page.sum("ctmon_map_problem", &[("map_name", label)]))?, 1, "{label}: one reason");
        assert_eq!(page.value("ctmon_map_present", &[("map_name", label)]), Some(1.0), "{label}");
        assert_eq!(page.sum("ctmon_map_entries", &[("map_name", label)]), None, "{label}: unknown, not 0");
    }
    assert_eq!(whole(page.value("ctmon_map_entries", &[("map_name", "ct_any4_global")]))?, 10);
    assert_eq!(page.value("ctmon_source_up", &[("source", "conntrack")]), Some(0.0));

    // What can be listed is listed; the rest is complained about, a line each.
    let listed = node.ctmon(&["list", "--count"])?;
    assert_eq!((listed.status.code(), listed.stdout.trim()), (Some(0), "16"), "{}", listed.stderr);
    assert_eq!(listed.stderr.lines().count(), 4, "{}", listed.stderr);
    Ok(())
}

#[test]
fn per_cluster_maps_are_found_at_most_32_of_them_and_the_rest_is_counted() -> Result<()> {
    let node = Node::new("targets_from_host: false\n")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::ShiftedToNow)?;
    let mut held = Vec::new();
    for cluster in 1..=20 {
        held.push(cilium::create_per_cluster(&node.bpffs, MapName::Ct4, cluster, 64)?);
        held.push(cilium::create_per_cluster(&node.bpffs, MapName::Snat4, cluster, 64)?);
    }
    for record in fixture::records_at(MapName::Ct4, second()?)?.iter().take(5) {
        held.first().context("no map")?.update(&record.key, &record.value)?;
    }
    let page = node.scrape()?;
    let present: Vec<&str> = page
        .matching("ctmon_map_present", &[])
        .filter_map(|sample| sample.labels.get("map_name").map(String::as_str))
        .collect();
    assert_eq!(present.len(), 6 + 32);
    assert_eq!(page.value("ctmon_maps_skipped", &[]), Some(8.0));
    assert!(!present.iter().any(|name| name.ends_with("tcp4")), "the array over all is no map to read");
    assert_eq!(whole(page.value("ctmon_map_entries", &[("map_name", "per_cluster_ct_tcp4_1")]))?, 5);
    assert_eq!(whole(page.sum("ctmon_ct_entries", &[("map_name", "per_cluster_ct_tcp4_1")]))?, 5);
    assert_eq!(whole(page.value("ctmon_map_entries", &[("map_name", "per_cluster_ct_tcp4_20")]))?, 0);

    // `global` is the node's own maps; another cluster's are listed where they are named.
    let lines = |verb: &[&str]| {
        Ok::<_, anyhow::Error>(node.said(verb)?.lines().filter(|line| !line.is_empty()).count())
    };
    assert_eq!(lines(&["list", "-o", "cilium"])?, 399);
    assert_eq!(lines(&["list", "-o", "cilium-1.16"])?, 399);
    assert_eq!(lines(&["list", "-o", "cilium", "--map", "per_cluster_ct_tcp4_1"])?, 5);
    assert_eq!(lines(&["list", "-o", "json"])?, 399 + 5);

    // One that is taken away is not held on to.
    let mut collector = collector(&node, &[])?;
    let cluster_1 = MapName::Ct4.per_cluster_pin(1);
    assert!(collector.collect().maps.iter().any(|map| map.map.name == "per_cluster_ct_tcp4_1"));
    node.bpffs.unpin(&cluster_1)?;
    assert!(collector.collect().maps.iter().all(|map| map.map.name != "per_cluster_ct_tcp4_1"));
    assert!(!collector.has_open(|map| map.name == "per_cluster_ct_tcp4_1"), "its memory must be given back");
    Ok(())
}

#[test]
fn a_per_cpu_lru_tells_each_processors_share() -> Result<()> {
    let node = Node::new("targets_from_host: false\n")?;
    let maps = Maps::create(&node.bpffs, Capacities::SMALL, NO_COMMON_LRU)?;
    let page = node.scrape()?;
    for name in MapName::ALL {
        let map = ("map_name", name.label());
        assert_eq!(page.value("ctmon_map_info", &[map, ("lru", "percpu")]), Some(1.0), "{}", name.label());
        let capacity = u64::from(maps.get(name).info().max_entries);
        assert_eq!(whole(page.value("ctmon_map_capacity", &[map]))?, capacity);
        let share = capacity / possible_cpus()? as u64;
        assert_eq!(whole(page.value("ctmon_map_percpu_share", &[map]))?, share, "{}", name.label());
        // Linux before 6.4 accounts for the values alone.
        let values = capacity * u64::from(maps.get(name).info().value_size);
        assert!(whole(page.value("ctmon_map_memory_bytes", &[map]))? >= values, "{}", name.label());
    }
    // Where nothing tells the number of processors, the share is unknown; what kind of map it is, is not.
    let root = host::captured(&node)?;
    let words = host::on(&root, &["scrape"])?;
    let page = Page::parse(&node.said(&words.iter().map(String::as_str).collect::<Vec<_>>())?)?;
    assert_eq!(page.matching("ctmon_map_info", &[("lru", "percpu")]).count(), MapName::ALL.len());
    assert_eq!(page.sum("ctmon_map_percpu_share", &[]), None);
    assert_eq!(page.matching("ctmon_alert_active", &[("alert", "CtmonMapFilling")]).count(), 0);
    Ok(())
}

#[test]
fn what_the_agent_opens_refuses_writes() -> Result<()> {
    let node = Node::new("")?;
    let _maps = fixture::replay(&node.bpffs, Lifetimes::AsCaptured)?;
    for (name, ours) in map_name::global_maps().iter().zip(MapName::ALL) {
        let open = pins::open(name, node.bpffs.root()).map_err(|problem| anyhow::anyhow!(problem.detail))?;
        let open = open.context("no such pin")?;
        let descriptor = Map::from_fd(open.fd.as_fd().try_clone_to_owned()?)?;
        let record = fixture::records(ours)?.into_iter().next().context("an empty map")?;
        let refused = [
            descriptor.update(&record.key, &record.value).err(),
            descriptor.delete(&record.key).err(),
            descriptor.update_batch(&record.key, &record.value).err(),
        ];
        for error in refused {
            let error = error.with_context(|| format!("{name} took a write"))?;
            let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
            assert_eq!(code, Some(1), "{name}: EPERM, not {error:#}");
        }
        assert!(
            descriptor.lookup(&record.key)?.is_some(),
            "{name}: reading is allowed, and nothing was deleted"
        );
    }
    Ok(())
}

#[test]
fn a_collection_changes_no_entry() -> Result<()> {
    let node = Node::new("targets_from_host: false\n")?;
    let maps = fixture::replay(&node.bpffs, Lifetimes::AsCaptured)?;
    let contents = || -> Result<Vec<_>> {
        MapName::ALL
            .into_iter()
            .map(|name| {
                let mut entries = maps.get(name).entries()?;
                entries.sort();
                Ok(entries)
            })
            .collect()
    };
    let before = contents()?;
    collector(&node, &everything())?.collect();
    node.scrape()?;
    node.said(&["list"])?;
    node.said(&["nat"])?;
    node.said(&["top"])?;
    ensure!(contents()? == before, "an entry changed");
    Ok(())
}

#[test]
fn more_than_a_million_entries_are_walked_completely() -> Result<()> {
    const ENTRIES: usize = 1_050_000;
    let memory = memory_mib()?;
    if memory < 4 * 1024 {
        println!(
            "ctmon-skip: a walk of {ENTRIES} entries needs 4 GiB of memory, this machine has {memory} MiB"
        );
        return Ok(());
    }
    let node = Node::new("targets_from_host: false\n")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 1 << 21, 0)?;
    generate::fill(&map, ENTRIES, reference::Clock::ktime(second()?))?;
    let mut collector = collector(&node, &everything())?;
    let snapshot = collector.collect();
    let scan = &present(&snapshot, "ct4_global")?.scan;
    assert_eq!((scan.entries, target_entries(&snapshot)), (ENTRIES as u64, ENTRIES as u64));
    assert_eq!(node.count(&["list", "--count"])?, ENTRIES as u64);
    Ok(())
}

/// Writers create, rewrite and delete entries while walks go on: every walk accounts for exactly what it met.
#[test]
fn walks_under_concurrent_writers_account_for_every_entry_they_meet() -> Result<()> {
    const WRITERS: u64 = 3;
    const WALKS: usize = 20;
    let node = Node::new("")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 16_384, 0)?;
    let clock = reference::Clock::ktime(second()?);
    generate::fill(&map, 8_000, clock)?;
    let name = map_name::global_maps().into_iter().next().context("no maps")?;
    let open = pins::open(&name, node.bpffs.root()).map_err(|problem| anyhow::anyhow!(problem.detail))?;
    let mut kernel = Kernel::load_watching(Choice::Off)?;
    let link = kernel.link(name.shape(), open.context("no pin")?.fd.as_fd())?;
    let mut whole_agent = collector(&node, &everything())?;
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let (map, stop, writes) = (&map, &stop, &writes);
    thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..WRITERS)
            .map(|seed| {
                scope.spawn(move || -> Result<()> {
                    let mut random = Random::new(seed);
                    while !stop.load(Ordering::Relaxed) {
                        write_one(map, &mut random)?;
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let mut walks = || -> Result<()> {
            for _ in 0..WALKS {
                // Something was written since the last walk, however slow the writers are.
                let before = writes.load(Ordering::Relaxed);
                while writes.load(Ordering::Relaxed) < before + 100 {
                    ensure!(threads.iter().all(|writer| !writer.is_finished()), "a writer ended");
                    thread::yield_now();
                }
                let scan = kernel.scan(&link, &Ask::default())?;
                let walked = scan.word(found::WALKED);
                assert!(walked > 0);
                assert_eq!(scan.cells.iter().sum::<u64>(), walked);
                let mut streamed = 0_u64;
                kernel.stream(&link, |_, key, value| {
                    streamed += u64::from((key.len(), value.len()) == (14, 56));
                    std::ops::ControlFlow::Continue(())
                })?;
                assert!(streamed > 0);
                let snapshot = whole_agent.collect();
                let entries = present(&snapshot, "ct4_global")?.scan.entries;
                assert_eq!(target_entries(&snapshot), entries, "every entry has one owner");
                assert_eq!(snapshot.totals.scan_errors, 0);
            }
            Ok(())
        };
        let walked = walks();
        stop.store(true, Ordering::Relaxed);
        for writer in threads {
            writer.join().map_err(|_| anyhow::anyhow!("a writer died"))??;
        }
        walked
    })
}

/// Any bytes: an entry may be torn, but not what is counted of it.
fn write_one(map: &Map, random: &mut Random) -> Result<()> {
    let mut key = vec![10, 42];
    key.extend(random.below(16_000).to_be_bytes().into_iter().skip(4));
    key.resize(12, 7);
    key.extend([6, 0]);
    if random.percent(30) {
        map.delete(&key)?;
        return Ok(());
    }
    let mut value = Vec::with_capacity(56);
    for _ in 0..7 {
        value.extend(random.next().to_ne_bytes());
    }
    map.update(&key, &value)
}

#[test]
fn the_support_clock_agrees_with_the_programs() -> Result<()> {
    let mut kernel = Kernel::load_watching(Choice::Off)?;
    let (seconds, jiffies) = (Clock::ktime(), Clock::jiffies()?);
    let before = (seconds.now()?, jiffies.now()?);
    let clocks = kernel.clocks()?;
    let after = (seconds.now()?, jiffies.now()?);
    let seen = (u32::try_from(clocks.ktime_ns / 1_000_000_000)?, u32::try_from(clocks.jiffies >> 8)?);
    assert!((before.0..=after.0).contains(&seen.0), "{before:?} {seen:?} {after:?}");
    assert!((before.1 - 1..=after.1 + 1).contains(&seen.1), "{before:?} {seen:?} {after:?}");
    Ok(())
}
