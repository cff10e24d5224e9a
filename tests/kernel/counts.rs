//! The kernel's own count of a map's entries, beside what is in it.
//!
//! In: maps of Cilium's shape, filled, emptied and overfilled. Out: pass or fail. Where the kernel has no such count, that
//! is what is checked, and it is said. Must not: compare a count with a walk of ctmon's own.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::cilium::{self, MapName};
use support::config;
use support::node::{Node, second};
use support::page::Page;
use support::simulate::entry::{CtValue, Facing, RX_CLOSING, SEEN_NON_SYN, TCP, TX_CLOSING, ct_key};
use support::sys::{Map, counts_entries};
use support::wait::wait_for;

use crate::daemon::{END, start};

/// Walks this far apart, in seconds.
fn config(interval: u32) -> String {
    config::daemon("clock: ktime\nevictions: off\n")
        .replace("interval: 1s", &format!("interval: {interval}s"))
}

/// `BPF_F_NO_COMMON_LRU`.
const PER_CPU: u32 = 2;
/// Whether this kernel counts.
pub(crate) fn tells() -> Result<bool> {
    let tells = counts_entries()?;
    if !tells {
        println!("ctmon-skip: this kernel has no bpf_map_sum_elem_count; the machines from 6.12 on prove it");
    }
    Ok(tells)
}

fn insert(map: &Map, numbers: Range<u16>) -> Result<Vec<Vec<u8>>> {
    let lifetime = second()? + 8_000;
    let add = |number: u16| {
        let key = ct_key(Facing::Out, ([10, 0, 0, 1], number).into(), ([10, 0, 0, 2], 80).into(), TCP);
        map.update(&key, &CtValue { lifetime, ..CtValue::default() }.to_bytes())?;
        Ok(key)
    };
    numbers.map(add).collect()
}

fn ensure_counted(page: &Page, map: &Map, name: &str, tells: bool) -> Result<()> {
    let labels = [("map_name", name)];
    let found = page.value("ctmon_map_kernel_entries", &labels);
    let expected = if tells { Some(f64::from(u32::try_from(map.count()?)?)) } else { None };
    ensure!(found == expected, "{name}: {found:?}, really {expected:?}");
    let peak = page.value("ctmon_map_peak_entries", &labels);
    ensure!(peak.is_some() == tells && peak >= found, "{name}: the highest is {peak:?}, now {found:?}");
    Ok(())
}

#[test]
fn the_kernels_count_is_what_the_map_holds_filled_emptied_and_overfilled() -> Result<()> {
    let tells = tells()?;
    let node = Node::new(&config(1))?;
    let flags = [(MapName::Ct4, 0), (MapName::CtAny4, PER_CPU), (MapName::Ct6, PER_CPU), (MapName::Snat4, 0)];
    let create = |(shape, flags): (MapName, u32)| {
        Ok((shape, cilium::create(&node.bpffs, shape, shape.pin(), 4_096, flags)?))
    };
    let maps = flags.into_iter().map(create).collect::<Result<Vec<_>>>()?;
    let check = || {
        let page = node.scrape()?;
        maps.iter().try_for_each(|(shape, map)| ensure_counted(&page, map, shape.label(), tells))
    };
    check()?;
    let (_, first) = maps.first().context("no map")?;
    let keys = insert(first, 0..1_000)?;
    check()?;
    for key in keys.iter().step_by(3) {
        first.delete(key)?;
    }
    check()?;
    // More than they hold: the kernel makes room.
    for (_, map) in maps.iter().take(2) {
        insert(map, 0..9_000)?;
    }
    check()
}

#[test]
fn the_daemon_reads_the_count_between_its_walks() -> Result<()> {
    if !tells()? {
        return Ok(());
    }
    // So long that entries come and go between two walks.
    let node = Node::new(&config(6))?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 4_096, 0)?;
    let mut running = start(&node)?;
    let scans = |page: &Page| page.value("ctmon_scans_total", &[]).unwrap_or(0.0);
    let of_map = |page: &Page, name| page.value(name, &[("map_name", "ct4_global")]);
    // Where the machine stalls for so long that they are there at the walk, or gone before they are counted, once more.
    wait_for("count higher than any walk saw", || {
        let before = scans(&running.page(|page| scans(page) > 0.0)?);
        // Right after a walk, so that the next one is as far away as can be.
        running.page(|page| scans(page) > before)?;
        let keys = insert(&map, 0..500)?;
        // The kernel is asked once a second: that time is what is tested, and no page tells of it before the walk.
        sleep(Duration::from_millis(2_500));
        for key in &keys {
            map.delete(key)?;
        }
        let page = running.page(|page| scans(page) > before + 1.0)?;
        let seen = of_map(&page, "ctmon_map_entries") == Some(0.0)
            && of_map(&page, "ctmon_map_peak_entries") == Some(500.0);
        Ok(seen.then_some(()))
    })?;
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(())
}

/// Closed for so long that they are dead, or open; of one pod.
fn fill(map: &Map, numbers: Range<u16>, flags: u16, lifetime: u32) -> Result<Vec<Vec<u8>>> {
    let add = |number: u16| {
        let key = ct_key(Facing::Out, ([10, 244, 0, 7], number).into(), ([10, 0, 0, 2], 80).into(), TCP);
        map.update(&key, &CtValue { flags, lifetime, ..CtValue::default() }.to_bytes())?;
        Ok(key)
    };
    numbers.map(add).collect()
}

#[test]
fn a_deleted_pod_is_no_pass_and_a_pass_is_one() -> Result<()> {
    const CLOSED: u16 = SEEN_NON_SYN | RX_CLOSING | TX_CLOSING;
    let node = Node::new(&config(3))?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 4_096, 0)?;
    let now = second()?;
    let dead = fill(&map, 1_024..1_224, CLOSED, now.saturating_sub(10))?;
    let living = fill(&map, 2_024..2_074, SEEN_NON_SYN, now + 8_000)?;
    insert(&map, 40_001..40_003)?;
    let mut running = start(&node)?;
    let entries = |page: &Page| page.value("ctmon_map_entries", &[("map_name", "ct4_global")]);
    let passes = |page: &Page| page.value("ctmon_gc_passes_total", &[("map_name", "ct4_global")]);
    running.page(|page| entries(page) == Some(252.0))?;
    // The agent scrubs a deleted pod's entries key by key, dead or alive.
    for key in dead.iter().chain(&living) {
        map.delete(key)?;
    }
    let page = running.page(|page| entries(page) == Some(2.0))?;
    let scans = |page: &Page| page.value("ctmon_scans_total", &[]);
    let seen = scans(&page).context("no scans")?;
    let page = running.page(|page| scans(page).is_some_and(|scans| scans >= seen + 3.0))?;
    ensure!(passes(&page) == Some(0.0), "a deleted pod was taken for a pass");
    let dead = fill(&map, 1_024..1_224, CLOSED, second()?.saturating_sub(10))?;
    running.page(|page| entries(page) == Some(202.0))?;
    for key in &dead {
        map.delete(key)?;
    }
    let page = running.page(|page| passes(page) == Some(1.0))?;
    let removed = page.value("ctmon_gc_last_removed_entries", &[("map_name", "ct4_global")]);
    // Without the kernel's count only walks tell, and what may have died between the last of them and the pass is added.
    let most = if tells()? { 200.0 } else { 202.0 };
    ensure!(removed.is_some_and(|removed| (200.0..=most).contains(&removed)), "{removed:?} of 200 removed");
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(())
}
