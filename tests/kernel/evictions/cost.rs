//! What an eviction costs with the program, beside what it costs with one that does nothing.
//!
//! In: a map overfilled with live connections, the kernel's own statistics of programs. Out: a ratio, printed; a failure
//! where programs run although nothing is evicted. Must not: judge the ratio: tests never depend on speed.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use aya::programs::FExit;
use aya::{Btf, Ebpf};
use monitor_model::eviction_plan::Choice;
use monitor_source::bpf::OBJECT;
use support::cilium::{self, MapName};
use support::fixture::Record;
use support::node::{Node, second};

use super::{collector, expected_mode, insert};

/// Live TCP connections as a node has them, a tenth of them with the NAS.
fn traffic(count: u32) -> Result<Vec<Record>> {
    let lifetime = second()? + 8_000;
    let record = |number: u32| {
        let [_, b2, b1, b0] = number.to_be_bytes();
        let remote = if number.is_multiple_of(10) { [192, 168, 100, 180] } else { [10, 42, 7, b1] };
        let key = [&[10, 42, 1, b2][..], &remote, &445_u16.to_be_bytes(), &[b1, b0], &[6, 0]].concat();
        let mut value = vec![0; 56];
        value.splice(32..36, lifetime.to_ne_bytes());
        value.splice(36..38, 0x10_u16.to_ne_bytes());
        Record { key, value }
    };
    Ok((0..count).map(record).collect())
}

/// One program's run count and run time, by its descriptor, as the kernel keeps them.
fn statistics() -> Result<BTreeMap<u64, (u64, u64)>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        if let (Some(id), Some(count), Some(time)) =
            (field("prog_id"), field("run_cnt"), field("run_time_ns"))
        {
            all.insert(id, (count, time));
        }
    }
    Ok(all)
}

#[test]
fn what_an_eviction_costs_is_told_and_nothing_else_costs() -> Result<()> {
    const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let node = Node::new("{}")?;
    let map = cilium::create(&node.bpffs, MapName::Ct4, MapName::Ct4.pin(), 1_024, 0)?;
    let all = traffic(3_000)?;
    let mut collector = collector(&node, Choice::Auto)?;
    if expected_mode(&collector.collect())?.is_none() {
        return Ok(());
    }
    let btf = Btf::from_sys_fs()?;
    let mut other = Ebpf::load(OBJECT)?;
    let empty: &mut FExit = other.program_mut("evict_empty").context("no empty program")?.try_into()?;
    empty.load("htab_lru_map_delete_node", &btf)?;
    empty.attach()?;
    let empty_id = u64::from(empty.info()?.id());
    fs::write(STATISTICS, "1")?;
    let idle = statistics()?;
    let few = all.get(..300).context("too few records")?;
    insert(&map, few)?;
    for record in few {
        map.delete(&record.key)?;
    }
    let rest = statistics()?;
    let (mut least_empty, mut least_real) = (f64::INFINITY, f64::INFINITY);
    // The best of some runs: whatever else the machine does can only add.
    for _ in 0..40 {
        let before = statistics()?;
        insert(&map, &all)?;
        let after = statistics()?;
        let mut cost = BTreeMap::new();
        for (id, (count, time)) in after {
            let (count_before, time_before) = before.get(&id).copied().unwrap_or_default();
            if count > count_before {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                cost.insert(id, (time - time_before) as f64 / (count - count_before) as f64);
            }
        }
        let empty = cost.remove(&empty_id).context("the empty program did not run")?;
        ensure!(cost.len() == 1, "{} programs ran besides", cost.len());
        let real = cost.into_values().next().context("the program did not run")?;
        (least_empty, least_real) = (least_empty.min(empty), least_real.min(real));
    }
    let ratio = least_real / least_empty;
    fs::write(STATISTICS, "0")?;
    ensure!(idle == rest, "programs ran although nothing was evicted: {idle:?}, {rest:?}");
    println!(
        "ctmon-note: an eviction costs {least_real:.0} ns, an empty program {least_empty:.0} ns: {ratio:.2} times"
    );
    Ok(())
}
