//! What the kernel threw away.

use monitor_model::snapshot::{EvictionCell, MapEvictions, Snapshot, TargetEvictions};

use super::page::{Metric, Page};

const EVICTIONS: Metric = Metric::counter(
    "ctmon_evictions_total",
    "Entries the kernel evicted to make room, by what they were. Deletes by Cilium are no evictions",
);
const TARGET: Metric = Metric::counter(
    "ctmon_target_evictions_total",
    "Evicted entries of the target; NAT entries have no state. Absent unless victims can be read",
);
const TRACKING: Metric = Metric::gauge(
    "ctmon_eviction_tracking",
    "What is seen of evictions (full, count, off), and why no more; always 1",
);
const MISSES: Metric = Metric::counter(
    "ctmon_eviction_recursion_misses_total",
    "Times the kernel skipped the program that counts evictions, because it would have run inside itself",
);
const LOST: Metric = Metric::counter(
    "ctmon_eviction_victims_lost_total",
    "Victims that were counted, but overwritten by later ones before `ctmon evictions` could know them",
);

pub(super) const METRICS: &[Metric] = &[EVICTIONS, TARGET, TRACKING, MISSES, LOST];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    let evictions = &snapshot.evictions;
    for MapEvictions { map_name, cells } in &evictions.maps {
        for EvictionCell { state, expiry, evicted } in cells {
            let labels =
                [("map_name", map_name.as_str()), ("state", state.name()), ("expired", expiry.name())];
            page.count(EVICTIONS, &labels, *evicted);
        }
    }
    for TargetEvictions { target, service, cells } in &evictions.targets {
        for EvictionCell { state, expiry, evicted } in cells {
            let labels = [
                ("target", target.as_str()),
                ("target_service", service.as_str()),
                ("state", state.name()),
                ("expired", expiry.name()),
            ];
            page.count(TARGET, &labels, *evicted);
        }
    }
    let (mode, reason) = (evictions.tracking.mode.name(), evictions.tracking.reason.name());
    page.count(TRACKING, &[("mode", mode), ("reason", reason)], 1);
    if let Some(misses) = evictions.recursion_misses {
        page.count(MISSES, &[], misses);
        page.count(LOST, &[], evictions.victims_lost);
    }
}
