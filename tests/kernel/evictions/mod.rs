//! Evictions: what the kernel threw away, against what is gone from the maps.
//!
//! In: maps of Cilium's shape, overfilled. Out: pass or fail. Where the kernel refuses tracing, that is what is
//! proved, with everything else working, and one line says so; the virtual machines prove the rest.
//! Must not: decide by a kernel version, or trust the agent's own mode: lockdown is read from the kernel.

mod cost;
mod daemon;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};
use monitor_model::clock::Clock as Units;
use monitor_model::eviction_plan::{Choice, Mode, Reason};
use monitor_model::snapshot::{Content, EvictionCell, Snapshot};
use monitor_source::collect::{CollectSettings, Collector};
use support::cilium::{self, Capacities, MapName, Maps};
use support::fixture::Record;
use support::generate::{Family, Generator};
use support::node::{Node, second};
use support::reference::{Clock, Service, Target, classify};
use support::sys::{Map, NO_COMMON_LRU};

use crate::collect;

/// Small, so that a few thousand entries overfill them.
const SMALL: Capacities = Capacities { tcp: 1_024, any: 512, nat: 512 };
/// Entries per map: several times what fits.
const ENTRIES: usize = 3_000;

/// State and expiry of a victim, in words.
type Class = (String, String);
/// Target and service, state and expiry.
type TargetClass = (String, String, String, String);

fn targets() -> Result<Vec<Target>> {
    let services = vec![Service::new("smb", &[445], Some("tcp")), Service::new("iscsi", &[3260], None)];
    Ok(vec![
        Target::new("qnap", &["192.168.100.180", "fd64::180"], services)?,
        Target::new("other_nas", &["192.168.100.181", "fd64::181"], Vec::new())?,
    ])
}

/// What the kernel lets be seen, by its own word on lockdown; `None` where it refuses tracing, which only a machine
/// other than the virtual ones may.
fn expected_mode(snapshot: &Snapshot) -> Result<Option<Mode>> {
    let tracking = &snapshot.evictions.tracking;
    println!("mode {} ({}) {}", tracking.mode.name(), tracking.reason.name(), tracking.detail);
    if tracking.mode == Mode::Off {
        ensure!(env::var_os("CTMON_VM").is_none(), "a virtual machine's kernel lets evictions be followed");
        ensure!(tracking.reason == Reason::TracingRefused, "{tracking:?}");
        ensure!(!tracking.detail.is_empty(), "the kernel's words are missing");
        println!("not proved here: this kernel refuses tracing; `cargo xtask vm` proves it");
        return Ok(None);
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let expected = if lockdown.contains("[confidentiality]") { Mode::Count } else { Mode::Full };
    ensure!(tracking.mode == expected, "lockdown is {lockdown:?}, the mode {tracking:?}");
    Ok(Some(expected))
}

fn collector(node: &Node, choice: Choice) -> Result<Collector> {
    let settings = collect::settings(node, &targets()?)?;
    collect::collector_of(CollectSettings { clock: Some(Units::Ktime), evictions: choice, ..settings })
}

/// Records whose expiry does not change during the test.
fn records(name: MapName, seed: u64, count: usize) -> Result<Vec<Record>> {
    let now = second()?;
    let near: Vec<IpAddr> =
        targets()?.iter().flat_map(|target| target.networks.clone()).map(|(ip, _)| ip).collect();
    let family = if name.is_v6() { Family::V6 } else { Family::V4 };
    let mut records = Generator::new(seed, Clock::ktime(now), &near).conntrack(family, count)?;
    for record in &mut records {
        let lifetime = record.value.get_mut(32..36).context("no lifetime")?;
        let left = i64::from(u32::from_ne_bytes((&*lifetime).try_into()?)) - i64::from(now);
        // An hour either way; on a machine just booted nothing can be overdue by more than its age.
        let settled = if left < 0 { now.saturating_sub(3_600) / 2 } else { now + 3_600 };
        lifetime.copy_from_slice(&settled.to_ne_bytes());
        if name.is_nat() {
            record.value = vec![0; name.value_size() as usize];
            let flags = record.key.last_mut().context("no flags")?;
            *flags &= 1;
        }
    }
    // Flags were part of what made the keys distinct.
    let mut keys = BTreeSet::new();
    records.retain(|record| keys.insert(record.key.clone()));
    Ok(records)
}

fn insert(map: &Map, records: &[Record]) -> Result<()> {
    records.iter().try_for_each(|record| map.update(&record.key, &record.value))
}

fn cells(cells: &[EvictionCell]) -> BTreeMap<Class, u64> {
    cells
        .iter()
        .filter(|cell| cell.evicted > 0)
        .map(|cell| ((cell.state.name().to_owned(), cell.expiry.name().to_owned()), cell.evicted))
        .collect()
}

fn of_map(snapshot: &Snapshot, label: &str) -> Result<BTreeMap<Class, u64>> {
    let found = snapshot.evictions.maps.iter().find(|map| map.map_name == label);
    Ok(cells(&found.with_context(|| format!("{label} is not watched"))?.cells))
}

fn total(snapshot: &Snapshot, label: &str) -> Result<u64> {
    Ok(of_map(snapshot, label)?.values().sum())
}

fn of_targets(snapshot: &Snapshot) -> BTreeMap<TargetClass, u64> {
    let mut all = BTreeMap::new();
    for of in &snapshot.evictions.targets {
        for ((state, expiry), evicted) in cells(&of.cells) {
            all.insert((of.target.clone(), of.service.clone(), state, expiry), evicted);
        }
    }
    all
}

/// A NAT key as the conntrack key of the same connection: who opened it stands at `daddr:sport` there.
fn as_conntrack(key: &[u8]) -> Result<Vec<u8>> {
    let width = if key.len() == 14 { 4 } else { 16 };
    let (addresses, rest) = key.split_at(2 * width);
    let (destination, source) = addresses.split_at(width);
    let [d0, d1, s0, s1, nexthdr, flags] = *<&[u8; 6]>::try_from(rest)?;
    Ok(if flags & 1 == 0 {
        // Out: the source opened.
        [source, destination, &[d0, d1, s0, s1, nexthdr, 0]].concat()
    } else {
        // In: an answer; its destination opened.
        [destination, source, &[s0, s1, d0, d1, nexthdr, 0]].concat()
    })
}

/// What victims were, read from the records that are gone.
fn reading(
    name: MapName,
    gone: &[&Record],
    targets: &[Target],
) -> Result<(BTreeMap<Class, u64>, BTreeMap<TargetClass, u64>)> {
    let (mut classes, mut of_targets) = (BTreeMap::new(), BTreeMap::new());
    let clock = Clock::ktime(second()?);
    for record in gone {
        let class = if name.is_nat() {
            let class = classify(&as_conntrack(&record.key)?, &[0; 56], clock, 600, targets)?;
            (("none".to_owned(), "unknown".to_owned()), class.target)
        } else {
            let class = classify(&record.key, &record.value, clock, 600, targets)?;
            ((class.state.to_owned(), class.expired.to_string()), class.target)
        };
        let ((state, expiry), target) = class;
        *classes.entry((state.clone(), expiry.clone())).or_insert(0) += 1;
        if let Some((target, service)) = target {
            *of_targets.entry((target.to_owned(), service.to_owned(), state, expiry)).or_insert(0) += 1;
        }
    }
    Ok((classes, of_targets))
}

fn gone<'a>(map: &Map, inserted: &'a [Record]) -> Result<Vec<&'a Record>> {
    let left: BTreeSet<Vec<u8>> = map.entries()?.into_iter().map(|(key, _)| key).collect();
    Ok(inserted.iter().filter(|record| !left.contains(&record.key)).collect())
}

fn overfilled_maps_count_exactly(flags: u32) -> Result<()> {
    let node = Node::new("{}")?;
    let maps = Maps::create(&node.bpffs, SMALL, flags)?;
    let mut collector = collector(&node, Choice::Auto)?;
    // Something is there before: a third of what fits.
    let mut inserted = Vec::new();
    for (seed, name) in (1..).zip(MapName::ALL) {
        let all = records(name, seed, ENTRIES)?;
        insert(maps.get(name), all.get(..150).context("too few records")?)?;
        inserted.push((name, all));
    }
    let first = collector.collect();
    for (map, present) in first.present() {
        ensure!(present.percpu_share.is_some() == (flags != 0), "{}", map.map.name);
        ensure!(present.scan.entries > 0, "{} was not walked", map.map.name);
    }
    ensure!(first.present().count() == 6, "not every map was walked");
    let Some(mode) = expected_mode(&first)? else {
        ensure!(
            first.evictions.maps.is_empty() && first.evictions.victims.is_empty(),
            "{:?}",
            first.evictions
        );
        return Ok(());
    };
    for of in &first.evictions.maps {
        ensure!(of.cells.iter().all(|cell| cell.evicted == 0), "{of:?} before anything was evicted");
        let nat = of.map_name.starts_with("snat");
        ensure!(of.cells.len() == if mode == Mode::Count || nat { 1 } else { 12 }, "{of:?}");
    }
    let before: Vec<usize> =
        inserted.iter().map(|(name, _)| maps.get(*name).count()).collect::<Result<_>>()?;
    // All maps at once, the first one from two threads.
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for (name, all) in &inserted {
            let (map, new) = (maps.get(*name), all.get(150..).unwrap_or_default());
            let (one, two) = new.split_at(if *name == MapName::Ct4 { new.len() / 2 } else { 0 });
            writers.push(scope.spawn(move || insert(map, two)));
            writers.push(scope.spawn(move || insert(map, one)));
        }
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer died"))?)
    })?;
    let snapshot = collector.collect();
    let mut expected_targets = BTreeMap::new();
    let mut evicted = 0;
    for ((name, all), before) in inserted.iter().zip(before) {
        let remaining = maps.get(*name).count()?;
        let expected = (all.len() - 150 + before - remaining) as u64;
        let counted = of_map(&snapshot, name.label())?;
        println!("{}: {before} + {} - {remaining} = {expected} evicted", name.label(), all.len() - 150);
        ensure!(expected > 100, "{} was not overfilled", name.label());
        ensure!(
            counted.values().sum::<u64>() == expected,
            "{}: {expected}, counted {counted:?}",
            name.label()
        );
        evicted += expected;
        if mode == Mode::Count {
            ensure!(
                counted.keys().all(|(state, expiry)| state == "unknown" && expiry == "unknown"),
                "{counted:?}"
            );
            continue;
        }
        let (classes, of_targets) = reading(*name, &gone(maps.get(*name), all)?, &targets()?)?;
        ensure!(counted == classes, "{}: counted {counted:?}, read {classes:?}", name.label());
        for (class, count) in of_targets {
            *expected_targets.entry(class).or_insert(0) += count;
        }
    }
    println!("recursion misses: {:?}", snapshot.evictions.recursion_misses);
    ensure!(snapshot.evictions.recursion_misses == Some(0), "{:?}", snapshot.evictions.recursion_misses);
    if mode == Mode::Count {
        ensure!(
            snapshot.evictions.targets.is_empty() && snapshot.evictions.victims.is_empty(),
            "named in count mode"
        );
        return Ok(());
    }
    ensure!(expected_targets.len() > 10, "too few classes of targets: {expected_targets:?}");
    ensure!(
        of_targets(&snapshot) == expected_targets,
        "{:?}, read {expected_targets:?}",
        of_targets(&snapshot)
    );
    let victims = &snapshot.evictions.victims;
    ensure!(victims.len() == 256, "{} victims", victims.len());
    let numbers: Vec<u64> = victims.iter().map(|victim| victim.number).collect();
    ensure!(numbers == (evicted - 255..=evicted).collect::<Vec<_>>(), "{numbers:?} of {evicted}");
    ensure!(snapshot.evictions.victims_lost == evicted - 256, "{} lost", snapshot.evictions.victims_lost);
    Ok(())
}

#[test]
fn overfilled_maps_with_a_common_lru_count_exactly() -> Result<()> {
    overfilled_maps_count_exactly(0)
}

#[test]
fn overfilled_maps_with_an_lru_per_cpu_count_exactly() -> Result<()> {
    overfilled_maps_count_exactly(NO_COMMON_LRU)
}

#[test]
fn the_last_victims_are_named_as_they_were() -> Result<()> {
    let node = Node::new("{}")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let all = records(MapName::Ct4, 11, 700)?;
    let mut collector = collector(&node, Choice::Auto)?;
    if expected_mode(&collector.collect())? != Some(Mode::Full) {
        return Ok(());
    }
    insert(&map, &all)?;
    let snapshot = collector.collect();
    let (gone, clock, targets) = (gone(&map, &all)?, Clock::ktime(second()?), targets()?);
    let victims = &snapshot.evictions.victims;
    ensure!(victims.len() == gone.len().min(256) && !gone.is_empty(), "{} of {}", victims.len(), gone.len());
    let mut wanted: BTreeMap<_, usize> = BTreeMap::new();
    for record in &gone {
        let class = classify(&record.key, &record.value, clock, 600, &targets)?;
        let (target, service) = class.target.unwrap_or(("none", "other"));
        let class = (class.direction, class.state, class.protocol, class.expired, target, service);
        *wanted.entry(class).or_default() += 1;
    }
    for victim in victims {
        ensure!(victim.map_name == "ct4_global" && victim.when.elapsed().is_ok(), "{victim:?}");
        let left = victim.remaining.context("no lifetime")?;
        ensure!((left < 0) == victim.expiry.known().context("unknown expiry")?, "{victim:?}");
        ensure!(left < 3_700, "{victim:?}");
        let class = (
            victim.direction.name(),
            victim.state.name(),
            victim.protocol.name(),
            left < 0,
            victim.target.as_str(),
            victim.target_service.as_str(),
        );
        let count = wanted.iter_mut().find(|(wanted, _)| **wanted == class).map(|(_, count)| count);
        let count = count.with_context(|| format!("{victim:?} is none of those that are gone"))?;
        *count = count.checked_sub(1).with_context(|| format!("{victim:?} is one too many of its class"))?;
    }
    Ok(())
}

#[test]
fn deletes_and_what_was_before_the_first_scan_do_not_count() -> Result<()> {
    let node = Node::new("{}")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 4_096, 0)?;
    let small = cilium::create(&node.bpffs, MapName::CtAny4, MapName::CtAny4.pin(), 256, 0)?;
    let all = records(MapName::Ct4, 3, ENTRIES)?;
    let mut collector = collector(&node, Choice::Auto)?;
    // The program is attached and the map unknown to it.
    insert(&small, &all)?;
    ensure!(gone(&small, &all)?.len() > 1_000, "nothing was evicted before the first scan");
    if expected_mode(&collector.collect())?.is_none() {
        return Ok(());
    }
    let few = all.get(..1_000).context("too few records")?;
    for _ in 0..5 {
        insert(&map, few)?;
        for record in few {
            ensure!(map.delete(&record.key)?, "a record was not there to be deleted");
        }
    }
    let snapshot = collector.collect();
    ensure!(total(&snapshot, "ct4_global")? == 0, "{:?}", of_map(&snapshot, "ct4_global")?);
    ensure!(total(&snapshot, "ct_any4_global")? == 0, "{:?}", of_map(&snapshot, "ct_any4_global")?);
    Ok(())
}

#[test]
fn a_map_created_anew_goes_on_counting_and_the_old_one_stops() -> Result<()> {
    let node = Node::new("{}")?;
    let old = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let all = records(MapName::Ct4, 5, 2_000)?;
    let mut collector = collector(&node, Choice::Auto)?;
    if expected_mode(&collector.collect())?.is_none() {
        return Ok(());
    }
    insert(&old, &all)?;
    let mut expected = (all.len() - old.count()?) as u64;
    ensure!(total(&collector.collect(), "ct4_global")? == expected, "the first map");
    // Ten in a row: the kernel is given every occasion to use an address again, for a map that is not Cilium's too.
    let mut new = old;
    for turn in 0..10 {
        let next = cilium::recreate(&node.bpffs, MapName::Ct4, 512)?;
        drop(std::mem::replace(&mut new, next));
        let stranger = cilium::create(&node.bpffs, MapName::Ct4, "stranger", 512, 0)?;
        insert(&stranger, &all)?;
        ensure!(
            total(&collector.collect(), "ct4_global")? == expected,
            "turn {turn}: a stranger was counted"
        );
        insert(&stranger, &all)?;
        insert(&new, &all)?;
        expected += (all.len() - new.count()?) as u64;
        let counted = total(&collector.collect(), "ct4_global")?;
        ensure!(counted == expected, "turn {turn}: {counted} counted of {expected}");
        node.bpffs.unpin("stranger")?;
    }
    // Gone, and back: the sum stays.
    node.bpffs.unpin(MapName::Ct4.pin())?;
    ensure!(total(&collector.collect(), "ct4_global")? == expected, "the map is gone");
    insert(&new, &all)?;
    ensure!(total(&collector.collect(), "ct4_global")? == expected, "a map without a pin was counted");
    Ok(())
}

#[test]
fn other_targets_and_another_mode_keep_the_sums() -> Result<()> {
    let node = Node::new("{}")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 512, 0)?;
    let all = records(MapName::Ct4, 17, 4_000)?;
    let mut collector = collector(&node, Choice::Auto)?;
    if expected_mode(&collector.collect())? != Some(Mode::Full) {
        return Ok(());
    }
    let (one, two) = all.split_at(2_000);
    insert(&map, one)?;
    let first = of_targets(&collector.collect());
    let early: BTreeSet<&[u8]> = gone(&map, one)?.into_iter().map(|record| record.key.as_slice()).collect();
    // In another order every pair has another number, and entries of both targets another owner.
    let mut turned = targets()?;
    turned.reverse();
    let settings = CollectSettings {
        clock: Some(Units::Ktime),
        evictions: Choice::Auto,
        ..collect::settings(&node, &turned)?
    };
    collector.reconfigure(settings.clone())?;
    ensure!(of_targets(&collector.collect()) == first, "sums changed with the order of targets");
    insert(&map, two)?;
    let mut late = gone(&map, &all)?;
    late.retain(|record| !early.contains(record.key.as_slice()));
    let (_, mut expected) = reading(MapName::Ct4, &late, &turned)?;
    for (class, count) in first {
        *expected.entry(class).or_insert(0) += count;
    }
    let counted = of_targets(&collector.collect());
    ensure!(counted == expected, "{counted:?}, read {expected:?}");
    for (choice, mode) in [(Choice::Off, Mode::Off), (Choice::Count, Mode::Count), (Choice::Full, Mode::Full)]
    {
        collector.reconfigure(CollectSettings { evictions: choice, ..settings.clone() })?;
        let evictions = collector.collect().evictions;
        ensure!(
            (evictions.tracking.mode, evictions.tracking.reason) == (mode, Reason::Config),
            "{evictions:?}"
        );
        ensure!(evictions.maps.is_empty() == (mode == Mode::Off), "{evictions:?}");
    }
    Ok(())
}

#[test]
fn a_problem_with_evictions_is_no_problem_of_the_maps() -> Result<()> {
    let node = Node::new("{}")?;
    let _maps = Maps::create(&node.bpffs, SMALL, 0)?;
    let snapshot = collector(&node, Choice::Off)?.collect();
    let tracking = &snapshot.evictions.tracking;
    ensure!((tracking.mode, tracking.reason) == (Mode::Off, Reason::Config), "{tracking:?}");
    ensure!(
        snapshot.maps.iter().all(|map| matches!(map.content, Content::Present(_))),
        "{:?}",
        snapshot.maps
    );
    // Other sources have their own reasons to be down on a machine without Cilium.
    for name in ["conntrack", "nat"] {
        let source = snapshot.sources.iter().find(|source| source.name == name).context("no such source")?;
        ensure!(source.error.is_none(), "{source:?}");
    }
    Ok(())
}
