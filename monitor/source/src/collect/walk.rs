//! One map between two collections, and one walk over it.
//!
//! In: an open map, what to ask for. Out: [`Followed`] with its last [`Walk`], and the map as a snapshot shows it. Must not: walk a map before its time.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use monitor_abi::scan::found;
use monitor_decode::host::cpus::parse_cpu_list;
use monitor_decode::host::fdinfo::parse_memlock;
use monitor_decode::scan::{PairCells, RawScan, map_scan, pair_cells};
use monitor_decode::timeouts::TimeoutCounts;
use monitor_model::map_name::{MapName, MapProblem, ProblemReason};
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{KernelCount, MapScan, PresentMap};

use super::clock::{NodeClock, low_half};
use crate::bpf::{Ask, Kernel, Link, ScanError, sys};
use crate::cilium::pins::{self, OpenMap};
use crate::host::Host;

/// A map between two collections.
pub(super) struct Followed {
    pub(super) open: OpenMap,
    pub(super) link: Link,
    pub(super) last: Option<Walk>,
}

/// A walk, decoded.
#[derive(Clone)]
pub(super) struct Walk {
    pub(super) scan: MapScan,
    pub(super) targets: PairCells,
    pub(super) timeouts: TimeoutCounts,
    /// Whether its clock was known.
    pub(super) decided: bool,
}

/// What a walk found that is not kept with it.
pub(super) struct Finding {
    /// Where the kernel has the map.
    pub(super) address: u64,
    /// Whether there was something that Cilium does not define.
    pub(super) odd: bool,
}

impl Followed {
    /// Whether the last walk is long enough ago. A quarter of an interval early still counts as this turn, so that jitter
    /// does not skip one.
    pub(super) fn is_due(&self, now: Duration, own_interval: Duration, interval: Duration) -> bool {
        self.last
            .as_ref()
            .is_none_or(|last| now.saturating_sub(last.scan.monotonic) + interval / 4 >= own_interval)
    }

    pub(super) fn walk(
        &mut self,
        name: &MapName,
        kernel: &mut Kernel,
        clock: &NodeClock,
        ask: &Ask,
        (now, interval): (Duration, Duration),
    ) -> Result<Finding, MapProblem> {
        let before = sys::thread_cpu_time();
        let raw = kernel.scan(&self.link, ask).map_err(|error| scan_problem(name, &error))?;
        let reading = clock.reading(low_half(raw.word(found::NOW)));
        let cost = sys::thread_cpu_time().saturating_sub(before);
        self.last = Some(Walk {
            scan: map_scan(name, &raw, reading, now, cost, interval),
            targets: pair_cells(&raw, reading),
            timeouts: TimeoutCounts::of(&raw),
            decided: clock.is_decided(),
        });
        Ok(Finding { address: raw.word(found::MAP_ADDRESS), odd: is_odd(&raw) })
    }

    /// The map with its last walk; `None` before the first one.
    pub(super) fn present(&self, host: &Host, kernel: Option<KernelCount>) -> Option<PresentMap> {
        let (info, last) = (self.open.info, self.last.as_ref()?);
        let cpus = pins::is_per_cpu(&info).then(|| possible_cpus(host)).flatten();
        Some(PresentMap {
            id: info.id,
            key_size: info.key_size,
            value_size: info.value_size,
            capacity: info.max_entries,
            flags: info.map_flags,
            percpu_share: cpus.and_then(|cpus| info.max_entries.checked_div(cpus)),
            memory_bytes: memory_bytes(host, self.open.fd.as_raw_fd()),
            scan: last.scan.clone(),
            kernel,
            gc: None,
        })
    }
}

fn is_odd(raw: &RawScan) -> bool {
    raw.word(found::ODD_FLAGS) + raw.word(found::ODD_NEXTHDR) > 0
}

pub(super) fn scan_problem(name: &MapName, error: &ScanError) -> MapProblem {
    let detail = format!("failed to walk map {name}: {}", one_line(error));
    MapProblem { reason: ProblemReason::Scan, detail }
}

/// What the kernel accounts to the map behind this process's descriptor.
fn memory_bytes(host: &Host, fd: i32) -> Option<u64> {
    parse_memlock(&fs::read_to_string(host.proc(format!("self/fdinfo/{fd}"))).ok()?)
}

/// CPUs the kernel could ever have: each owns a share of a per-CPU LRU.
fn possible_cpus(host: &Host) -> Option<u32> {
    parse_cpu_list(&fs::read_to_string(host.sys("devices/system/cpu/possible")).ok()?)
}
