//! The kernel's own count of a map's entries, beside what is in it.
//!
//! In: maps of Cilium's shape, filled, emptied and overfilled. Out: pass or fail. Where the kernel has no such count, that
//! is what is checked, and it is said. Must not: compare a count with a walk of ctmon's own.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::cilium::{self, MapName};
use support::http;
use support::node::{Node, PATIENCE, second};
use support::page::Page;
use support::simulate::entry::{CtValue, Facing, TCP, ct_key};
use support::sys::Map;

use crate::daemon::{END, start};
use crate::storage::wait_for;

const CONFIG: &str =
    "{listen: '127.0.0.1:0', interval: 1s, clock: ktime, targets_from_host: false, evictions: off}";
/// `BPF_F_NO_COMMON_LRU`.
const PER_CPU: u32 = 2;
/// The function's line in the kernel's own list of symbols.
const FUNCTION: &str = " bpf_map_sum_elem_count";

/// Whether this kernel counts.
fn tells() -> Result<bool> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").context("no list of symbols")?;
    let tells = symbols.lines().any(|line| line.ends_with(FUNCTION));
    if !tells {
        println!("not proved here: this kernel has no{FUNCTION}; `cargo xtask vm` proves it");
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
    let node = Node::new(CONFIG)?;
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
    // So long that everything happens between two walks.
    let node = Node::new(&CONFIG.replace("interval: 1s", "interval: 20s"))?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 4_096, 0)?;
    let mut running = start(&node)?;
    running.daemon.wait_for_http(running.address, "/readyz", PATIENCE)?;
    // Entries that come and go: sooner or later they are there when the kernel is asked, and gone when the map is walked.
    wait_for("a count higher than any walk saw", || {
        let keys = insert(&map, 0..500)?;
        sleep(Duration::from_secs(2));
        for key in &keys {
            map.delete(key)?;
        }
        sleep(Duration::from_secs(2));
        let page = Page::parse(http::get(running.address, "/metrics")?.text()?)?;
        let of_map = |name| page.value(name, &[("map_name", "ct4_global")]);
        let seen =
            of_map("ctmon_map_entries") == Some(0.0) && of_map("ctmon_map_peak_entries") == Some(500.0);
        Ok(seen.then_some(()))
    })?;
    ensure!(running.daemon.stop(END)?.success(), "{}", running.daemon.output());
    Ok(())
}
