//! Cilium's garbage collection, followed between two snapshots by the kernel's own counts.
//!
//! In: counts by map id, each second; the walks of a collection. Out: the latest and the highest count since the last
//! snapshot, and what the watch makes of them. Must not: show a count that is older than the last try.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use monitor_model::clock::ClockNow;
use monitor_model::one_line::one_line;
use monitor_model::snapshot::{Content, KernelCount, MapState};

use super::LOG_INTERVAL;
use super::maps::Maps;
use crate::bpf::{Kernel, sys};
use crate::cilium::gc::{GcWatch, Sample};

/// What is known of it.
#[derive(Default)]
pub(super) struct Gc {
    watch: GcWatch,
    /// By map id.
    counts: BTreeMap<u32, KernelCount>,
    /// When a failure was last logged.
    logged: Option<Duration>,
}

impl Gc {
    /// The kernel's count of a map.
    pub(super) fn count_of(&self, id: u32) -> Option<KernelCount> {
        self.counts.get(&id).copied()
    }

    /// Asks the kernel how many entries the open maps hold.
    pub(super) fn count(&mut self, kernel: &mut Kernel, maps: &Maps) {
        let ids: BTreeSet<u32> = maps.iter().map(|(_, map)| map.open.info.id).collect();
        let counted = kernel.counter().count(&ids).unwrap_or_else(|error| {
            let now = sys::monotonic();
            if self.logged.is_none_or(|logged| now.saturating_sub(logged) >= LOG_INTERVAL) {
                self.logged = Some(now);
                tracing::warn!(error = one_line(&error), "failed to read the kernel's own count of entries");
            }
            Vec::new()
        });
        let latest = counted.iter().map(|counted| {
            let before = self.count_of(counted.id).map_or(0, |count| count.peak);
            (counted.id, KernelCount { entries: counted.entries, peak: before.max(counted.entries) })
        });
        self.counts = latest.collect();
        for (name, map) in maps.iter().filter(|(name, _)| name.is_conntrack()) {
            let id = map.open.info.id;
            if let Some(counted) = counted.iter().find(|counted| counted.id == id) {
                self.watch.count(name, id, counted.at, counted.entries);
            }
        }
    }

    /// Compares the conntrack maps with what they were at the last scan. The highest counts begin anew.
    pub(super) fn observe(&mut self, maps: &mut [MapState], scale: ClockNow, now: Duration) {
        let unit = scale.unit();
        self.watch.observe(maps.iter().filter(|map| map.map.is_conntrack()).filter_map(|map| {
            let Content::Present(present) = &map.content else { return None };
            let sample = unit.and_then(|unit| Sample::of(&present.scan, unit, present.capacity.into()));
            Some((&map.map, present.id, sample))
        }));
        for map in maps {
            if let Content::Present(present) = &mut map.content {
                present.gc = self.watch.facts(&map.map, now);
            }
        }
        self.counts.values_mut().for_each(|count| count.peak = count.entries);
    }
}
