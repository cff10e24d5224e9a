//! The kernel's own counts of the open maps, between two snapshots.
//!
//! In: counts by map id, each second. Out: the latest and the highest since the last snapshot; the watch of Cilium's
//! collector hears of each. Must not: show a count that is older than the last try.

use std::collections::{BTreeMap, BTreeSet};

use monitor_model::snapshot::KernelCount;

use super::{Collector, LOG_INTERVAL};
use crate::bpf::sys;

/// Counts by map id.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<u32, KernelCount>);

impl Counts {
    pub(super) fn of(&self, id: u32) -> Option<KernelCount> {
        self.0.get(&id).copied()
    }

    /// The highest counts begin anew.
    pub(super) fn begin(&mut self) {
        for count in self.0.values_mut() {
            count.peak = count.entries;
        }
    }
}

impl Collector {
    /// Asks the kernel how many entries the open maps hold: once a second, and before each walk. Costs a few dozen
    /// microseconds, and nothing where the kernel does not tell.
    pub fn count(&mut self) {
        let ids: BTreeSet<u32> = self.known.values().map(|known| known.open.info.id).collect();
        let counted = match self.kernel.counter().count(&ids) {
            Ok(counted) => counted,
            Err(error) => {
                let now = sys::monotonic();
                if self.count_logged.is_none_or(|logged| now.saturating_sub(logged) >= LOG_INTERVAL) {
                    self.count_logged = Some(now);
                    tracing::warn!(%error, "failed to read the kernel's own count of entries");
                }
                Vec::new()
            }
        };
        let mut latest = BTreeMap::new();
        for counted in &counted {
            let before = self.counts.of(counted.id).map_or(0, |count| count.peak);
            let count = KernelCount { entries: counted.entries, peak: before.max(counted.entries) };
            latest.insert(counted.id, count);
        }
        self.counts = Counts(latest);
        let conntrack = self.known.iter().filter(|(name, _)| name.is_conntrack());
        for (name, known) in conntrack {
            let id = known.open.info.id;
            if let Some(counted) = counted.iter().find(|counted| counted.id == id) {
                self.gc.count(name, id, counted.at, counted.entries);
            }
        }
    }
}
