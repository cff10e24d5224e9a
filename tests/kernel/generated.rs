//! Large generated maps, cell by cell against the plain reference: every flag bit, both families, both clocks.
//!
//! In: seeds; `CTMON_TEST_ENTRIES` overrides how many entries. Out: pass or fail.
//! Must not: compare with anything that shares code with what it checks.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use monitor_model::clock::Clock as Mode;
use monitor_model::snapshot::{Content, PresentMap, Snapshot};
use monitor_source::collect::{CollectSettings, Collector};
use support::cilium::{self, MapName};
use support::clock::Clock;
use support::fixture::Record;
use support::generate::{self, Family, Generator, STALE_AFTER};
use support::node::{Node, memory_mib, whole};
use support::reference::{self, Class, Service, Target, classify};
use support::sys::Map;

use crate::collect::{collector, collector_of, settings};

/// Classes of an entry, but for its target.
type Cell = (&'static str, &'static str, bool, &'static str, &'static str);
/// Target, service, state, expired.
type TargetCell = (String, String, &'static str, bool);

/// What a map holds on one clock reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    cells: BTreeMap<Cell, u64>,
    oldest: i64,
    targets: BTreeMap<TargetCell, u64>,
    silent: SilentCounts,
}

/// What of the targets has been silent for too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SilentCounts {
    /// By target, service and whether both bits are set.
    lingering: BTreeMap<(String, String, bool), u64>,
    unanswered: BTreeMap<(String, String), u64>,
    /// Clock units.
    longest: BTreeMap<(String, String), i64>,
}

/// A collector with [`STALE_AFTER`] in place of the default.
fn impatient(node: &Node, targets: &[Target]) -> Result<Collector> {
    let stale_after = Duration::from_secs(STALE_AFTER.try_into()?);
    collector_of(CollectSettings { stale_after, ..settings(node, targets)? })
}

/// A map and what was put into it.
struct Filled {
    name: MapName,
    records: Vec<Record>,
    _map: Map,
}

/// Networks nested in both orders, single hosts, and wide ones that catch random addresses.
fn targets() -> Result<Vec<Target>> {
    Ok(vec![
        Target::new(
            "narrow_first",
            &["10.20.30.0/24", "fd00:3:4::/64"],
            vec![Service::new("smb", &[445], None), Service::new("iscsi", &[3260], Some("tcp"))],
        )?,
        Target::new(
            "then_wide",
            &["10.20.0.0/16", "fd00:3::/32"],
            vec![Service::new("smb", &[445], Some("udp"))],
        )?,
        Target::new(
            "wide_first",
            &["172.20.0.0/16", "fd00:1::/32"],
            vec![
                Service::new("api", &[8080, 443], Some("tcp")),
                Service::new("quic", &[443], Some("udp")),
                Service::new("nfs", &[2049, 0], None),
            ],
        )?,
        Target::new(
            "never_reached",
            &["172.20.5.0/24", "fd00:1:2::/48"],
            vec![Service::new("smb", &[445], None)],
        )?,
        Target::new(
            "host",
            &["192.168.100.180/32", "fd64::180/128"],
            vec![Service::new("mdns", &[5353], Some("udp")), Service::new("smb", &[445], Some("tcp"))],
        )?,
        Target::new("half", &["96.0.0.0/3", "8000::/1"], Vec::new())?,
    ])
}

/// Addresses in the networks above, and their neighbours outside.
fn near() -> Result<Vec<IpAddr>> {
    let texts = "10.20.30.1 10.20.30.255 10.20.31.0 10.20.0.0 10.20.255.255 10.21.0.0 10.19.255.255 172.20.5.7 \
        172.20.6.0 172.19.255.255 172.21.0.0 192.168.100.180 192.168.100.181 192.168.100.179 95.255.255.255 \
        128.0.0.0 fd00:3:4::1 fd00:3:4:0:ffff:: fd00:3:4:1:: fd00:3:5::1 fd00:4:: fd00:1:2::1 fd00:1:3::1 \
        fd00:2:: fd64::180 fd64::181 fd64::1:180 7fff:ffff::1";
    texts.split_whitespace().map(|text| text.parse().with_context(|| format!("bad address {text}"))).collect()
}

/// Entries in all maps together; fewer where memory is short, as in the virtual machines.
fn size() -> Result<usize> {
    if let Some(text) = env::var_os("CTMON_TEST_ENTRIES") {
        let text = text.to_string_lossy();
        return text.parse().with_context(|| format!("CTMON_TEST_ENTRIES is {text:?}, not a number"));
    }
    Ok(if memory_mib()? < 3 * 1024 { 20_000 } else { 300_000 })
}

fn filled(node: &Node, name: MapName, records: Vec<Record>) -> Result<Filled> {
    // Twice the room: an LRU map evicts before it is full.
    let capacity = u32::try_from(records.len() * 2)?.next_power_of_two().max(4_096);
    let map = cilium::create(&node.bpffs, name, name.pin(), capacity, 0)?;
    generate::put(&map, &records)?;
    Ok(Filled { name, records, _map: map })
}

/// Half v4, a quarter in each of the v6 and the other v4 map.
fn fill_maps(node: &Node, seed: u64, clock: reference::Clock, size: usize) -> Result<Vec<Filled>> {
    let mut generator = Generator::new(seed, clock, &near()?);
    [
        (MapName::Ct4, Family::V4, size / 2),
        (MapName::CtAny4, Family::V4, size / 4),
        (MapName::Ct6, Family::V6, size / 4),
    ]
    .into_iter()
    .map(|(name, family, count)| filled(node, name, generator.conntrack(family, count)?))
    .collect()
}

/// The reference's counts of one map.
fn expected(records: &[Record], clock: reference::Clock, targets: &[Target]) -> Result<Counts> {
    let mut counts = Counts::default();
    for Record { key, value } in records {
        let class = classify(key, value, clock, STALE_AFTER, targets)?;
        let Class {
            direction,
            state,
            protocol,
            expired,
            due,
            stale: _,
            silent,
            lingering,
            unanswered,
            target,
        } = class;
        *counts.cells.entry((direction, state, expired, due, protocol)).or_default() += 1;
        let lifetime = u32::from_ne_bytes(value.get(32..36).context("short value")?.try_into()?);
        let overdue = i64::from(clock.now) - i64::from(lifetime);
        counts.oldest = counts.oldest.max(overdue * clock.numerator / clock.denominator);
        if let Some((target, service)) = target {
            let (target, service) = (target.to_owned(), service.to_owned());
            if lingering == Some(true) {
                let key = (target.clone(), service.clone(), state == "closed");
                *counts.silent.lingering.entry(key).or_default() += 1;
            }
            if unanswered == Some(true) {
                let pair = (target.clone(), service.clone());
                *counts.silent.unanswered.entry(pair.clone()).or_default() += 1;
                let longest = counts.silent.longest.entry(pair).or_default();
                *longest = silent.context("nobody knows how long")?.max(*longest);
            }
            *counts.targets.entry((target, service, state, expired)).or_default() += 1;
        }
    }
    Ok(counts)
}

/// What the agent counted in one map; targets are counted over all maps and come separately.
fn found(map: &PresentMap) -> Result<(BTreeMap<Cell, u64>, i64)> {
    let mut cells = BTreeMap::new();
    for cell in &map.scan.cells {
        let expired = cell.due.expired().context("an entry whose expiry is unknown")?;
        let key = (cell.direction.name(), cell.state.name(), expired, cell.due.name(), cell.protocol.name());
        ensure!(cells.insert(key, cell.entries).is_none(), "a cell stands there twice: {key:?}");
    }
    Ok((cells, i64::try_from(map.scan.oldest_expired.context("no oldest entry")?)?))
}

fn present(snapshot: &Snapshot, name: MapName) -> Result<&PresentMap> {
    let map = snapshot.maps.iter().find(|map| map.map.name == name.label()).context("map not listed")?;
    match &map.content {
        Content::Present(present) => Ok(present),
        other => anyhow::bail!("{} is not present: {other:?}", name.label()),
    }
}

/// Collects, finds for each map the instants of the collection at which the reference counts the same, and then
/// compares the targets, which sum over maps.
fn check(
    collector: &mut Collector,
    clock: Clock,
    mode: Mode,
    maps: &[Filled],
    targets: &[Target],
) -> Result<()> {
    let before = clock.now()?;
    let snapshot = collector.collect();
    let after = clock.now()?;
    assert_eq!(snapshot.clock.mode, mode, "{:?}", snapshot.clock);
    // Jiffies are extrapolated on this side: one unit either way.
    let instants = before.saturating_sub(1)..=after + 1;
    let mut whole_counts: Vec<Vec<Counts>> = Vec::new();
    for map in maps {
        let (cells, oldest) = found(present(&snapshot, map.name)?)?;
        let scan = &present(&snapshot, map.name)?.scan;
        assert_eq!(scan.entries, map.records.len() as u64, "{}", map.name.label());
        assert_eq!(cells.values().sum::<u64>(), scan.entries, "{}: a strict partition", map.name.label());
        let mut fitting = Vec::new();
        let mut nearest = None;
        for now in instants.clone() {
            let counts = expected(&map.records, clock.units().reference(now), targets)?;
            if (&counts.cells, counts.oldest) == (&cells, oldest) {
                fitting.push(counts);
            } else {
                let wrong: Vec<_> = counts
                    .cells
                    .keys()
                    .chain(cells.keys())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .map(|key| (*key, counts.cells.get(key).copied(), cells.get(key).copied()))
                    .filter(|(_, expected, found)| expected != found)
                    .collect();
                if nearest.as_ref().is_none_or(|(_, _, least): &(u32, i64, Vec<_>)| wrong.len() < least.len())
                {
                    nearest = Some((now, counts.oldest, wrong));
                }
            }
        }
        assert!(
            !fitting.is_empty(),
            "{}: no instant of {instants:?} fits (oldest {oldest}); nearest: {nearest:?}",
            map.name.label()
        );
        check_odd(map, scan.odd_flags, scan.odd_nexthdr, scan.no_report)?;
        whole_counts.push(fitting);
    }
    let (found_targets, found_silent) = found_targets(&snapshot, clock.units().reference(0))?;
    let sums = sums(&whole_counts);
    let fits = sums.iter().any(|sum| (&sum.targets, &sum.silent) == (&found_targets, &found_silent));
    let first = sums.first().context("nothing was compared")?;
    let wrong = |key: &TargetCell| first.targets.get(key) != found_targets.get(key);
    let keys: Vec<_> = first.targets.keys().chain(found_targets.keys()).filter(|key| wrong(key)).collect();
    assert!(fits, "targets: {keys:?}\nsilent, expected: {:?}\nfound: {found_silent:?}", first.silent);
    let SilentCounts { lingering, unanswered, longest: _ } = &first.silent;
    ensure!(!lingering.is_empty() && !unanswered.is_empty(), "nothing is silent: that part proves nothing");
    ensure!(first.targets.keys().all(|(target, ..)| target != "never_reached"), "the nesting proves nothing");
    Ok(())
}

/// Sums of one choice per map; maps walked across a border of the clock may fit two instants.
fn sums(maps: &[Vec<Counts>]) -> Vec<Counts> {
    let mut sums = vec![Counts::default()];
    for choices in maps {
        sums = sums
            .iter()
            .flat_map(|sum| choices.iter().map(move |choice| (sum, choice)))
            .map(|(sum, choice)| {
                let mut sum = sum.clone();
                for (key, count) in &choice.targets {
                    *sum.targets.entry(key.clone()).or_default() += count;
                }
                for (key, count) in &choice.silent.lingering {
                    *sum.silent.lingering.entry(key.clone()).or_default() += count;
                }
                for (key, count) in &choice.silent.unanswered {
                    *sum.silent.unanswered.entry(key.clone()).or_default() += count;
                }
                for (key, units) in &choice.silent.longest {
                    let longest = sum.silent.longest.entry(key.clone()).or_default();
                    *longest = (*units).max(*longest);
                }
                sum
            })
            .collect();
    }
    sums
}

fn found_targets(
    snapshot: &Snapshot,
    clock: reference::Clock,
) -> Result<(BTreeMap<TargetCell, u64>, SilentCounts)> {
    let (mut targets, mut counts) = (BTreeMap::new(), SilentCounts::default());
    for state in &snapshot.targets {
        let names = || (state.target.clone(), state.service.clone());
        for cell in state.cells.iter().filter(|cell| cell.entries > 0) {
            let expired = cell.expired.context("an entry whose expiry is unknown")?;
            let (target, service) = names();
            targets.insert((target, service, cell.state.name(), expired), cell.entries);
        }
        let silent = state.silent.context("how long entries have been silent is known in the first scan")?;
        for (closed, entries) in [(true, silent.lingering_closed), (false, silent.lingering_half_closed)] {
            let (target, service) = names();
            counts.lingering.extend((entries > 0).then_some(((target, service, closed), entries)));
        }
        counts.unanswered.extend((silent.unanswered > 0).then_some((names(), silent.unanswered)));
        ensure!((silent.unanswered > 0) == silent.longest_unanswered.is_some(), "{silent:?}");
        if let Some(longest) = silent.longest_unanswered {
            let micros = i64::try_from(longest.as_micros())?;
            // The agent rounds microseconds down, this rounds the units they stand for up.
            let units = -(-micros * clock.denominator).div_euclid(clock.numerator * 1_000_000);
            counts.longest.insert(names(), units);
        }
    }
    Ok((targets, counts))
}

/// Bits Cilium does not define; an entry with next header 0 is counted as that alone.
fn check_odd(map: &Filled, flags: u64, nexthdr: u64, no_report: u64) -> Result<()> {
    let (mut odd_flags, mut odd_nexthdr, mut silent_ever) = (0, 0, 0);
    for Record { key, value } in &map.records {
        let [next_header, tuple_flags] = *key.last_chunk().context("short key")?;
        let entry_flags = u16::from_ne_bytes(value.get(36..38).context("short value")?.try_into()?);
        if next_header == 0 {
            odd_nexthdr += 1;
        } else if entry_flags & 0xf800 != 0 || tuple_flags & 0xf8 != 0 {
            odd_flags += 1;
        }
        silent_ever += u64::from(value.last_chunk::<8>().context("short value")? == &[0; 8]);
    }
    assert_eq!((flags, nexthdr, no_report), (odd_flags, odd_nexthdr, silent_ever), "{}", map.name.label());
    Ok(())
}

#[test]
fn generated_entries_are_counted_as_the_reference_does_in_seconds() -> Result<()> {
    let (clock, targets) = (Clock::ktime(), targets()?);
    let node = Node::new("")?;
    let maps = fill_maps(&node, 1, clock.units().reference(clock.now()?), size()?)?;
    check(&mut impatient(&node, &targets)?, clock, Mode::Ktime, &maps, &targets)
}

#[test]
fn generated_entries_are_counted_as_the_reference_does_in_jiffies() -> Result<()> {
    let (clock, targets) = (Clock::jiffies()?, targets()?);
    let node = Node::new("")?;
    let maps = fill_maps(&node, 2, clock.units().reference(clock.now()?), size()?)?;
    check(&mut impatient(&node, &targets)?, clock, Mode::Jiffies, &maps, &targets)
}

/// Entries at every unit around every border of the due classes: whatever instant the walk reads, each border is
/// met from both sides.
#[test]
fn borders_of_due_classes_are_exact_on_both_clocks() -> Result<()> {
    const BORDERS: [i64; 9] = [-43_200, -3_600, -600, 0, 10, 60, 600, 3_600, 8_000];
    for (clock, mode) in [(Clock::jiffies()?, Mode::Jiffies), (Clock::ktime(), Mode::Ktime)] {
        let node = Node::new("")?;
        let now = clock.now()?;
        let reading = clock.units().reference(now);
        let mut records = Vec::new();
        for border in BORDERS {
            for offset in -8..=40 {
                let lifetime = i64::from(now) + reading.units(border) + offset;
                // A machine that has just booted has no past on the clock that starts with it.
                let Ok(lifetime) = u32::try_from(lifetime) else { continue };
                let [high, low] = u16::try_from(records.len())?.to_be_bytes();
                let key = vec![10, 0, high, low, 192, 168, 100, 180, 1, 189, high, low, 6, 0];
                let mut value = vec![0; 56];
                value.splice(32..36, lifetime.to_ne_bytes());
                // Established, half-closed, closed in turn.
                let flags: u16 = [0x10, 0x11, 0x13][records.len() % 3];
                value.splice(36..38, flags.to_ne_bytes());
                records.push(Record { key, value });
            }
        }
        let map = filled(&node, MapName::Ct4, records)?;
        let before = clock.now()?;
        let mut collector = collector(&node, &[])?;
        let snapshot = collector.collect();
        let after = clock.now()?;
        assert_eq!(snapshot.clock.mode, mode);
        let (cells, oldest) = found(present(&snapshot, MapName::Ct4)?)?;
        let mut fits = false;
        for instant in before.saturating_sub(1)..=after + 1 {
            let counts = expected(&map.records, clock.units().reference(instant), &[])?;
            fits |= (&counts.cells, counts.oldest) == (&cells, oldest);
        }
        assert!(fits, "{mode:?}: no instant of {before}..={after} fits {cells:?}");
    }
    Ok(())
}

#[test]
fn the_clock_is_found_on_each_node_and_can_be_forced() -> Result<()> {
    for (clock, name, other) in
        [(Clock::ktime(), "ktime", "jiffies"), (Clock::jiffies()?, "jiffies", "ktime")]
    {
        let node = Node::new("targets_from_host: false\n")?;
        // Nothing to tell by: unknown, and nothing is called expired.
        let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 65_536, 0)?;
        let page = node.scrape()?;
        assert_eq!(page.value("ctmon_clock_info", &[("mode", "unknown"), ("source", "entries")]), Some(1.0));
        assert_eq!(page.sum("ctmon_ct_due_entries", &[]), None);
        assert_eq!(page.sum("ctmon_ct_entries", &[("expired", "false")]), None);

        generate::fill(&map, 5_000, clock.units().reference(clock.now()?))?;
        let page = node.scrape()?;
        assert_eq!(page.value("ctmon_clock_info", &[("mode", name), ("source", "entries")]), Some(1.0));
        assert_eq!(page.sum("ctmon_ct_entries", &[("expired", "unknown")]), None);
        assert_eq!(whole(page.sum("ctmon_ct_entries", &[]))?, 5_000);
        assert_eq!(whole(page.sum("ctmon_ct_due_entries", &[]))?, 5_000);
        // Closed ones are due within seconds, and most were long ago.
        assert!(whole(page.sum("ctmon_ct_entries", &[("expired", "false")]))? > 1_000);

        node.configure(&format!("targets_from_host: false\nclock: {other}\n"))?;
        let page = node.scrape()?;
        assert_eq!(page.value("ctmon_clock_info", &[("mode", other), ("source", "config")]), Some(1.0));
        // On the wrong clock all entries lie together, far from now.
        let one_side = page
            .matching("ctmon_ct_due_entries", &[("map_name", "ct4_global")])
            .any(|sample| whole(Some(sample.value)).is_ok_and(|count| count == 5_000));
        assert!(one_side, "{page:?}");
    }
    Ok(())
}
