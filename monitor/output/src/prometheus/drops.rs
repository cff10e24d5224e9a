//! What Cilium's datapath dropped, and how hard source ports were to find.

use monitor_model::drops::{DIRECTIONS, DropReason, RETRIES};
use monitor_model::snapshot::Snapshot;

use super::page::{Metric, Page};

const DROPS: Metric = Metric::counter(
    "ctmon_datapath_drops_total",
    "Packets dropped for reasons of conntrack and NAT, in Cilium's words, since its counters were made",
);
const ALLOCATIONS: Metric = Metric::counter(
    "ctmon_nat_alloc_retries_total",
    "Source ports allocated by how many tries more it took; exhausted: none was found",
);

pub(super) const METRICS: &[Metric] = &[DROPS, ALLOCATIONS];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    let Some(drops) = &snapshot.drops else { return };
    for (reason, packets) in DropReason::ALL.iter().zip(drops.packets.iter().flatten()) {
        for (direction, packets) in DIRECTIONS.iter().zip(packets) {
            page.count(DROPS, &[("reason", reason.text()), ("direction", direction)], *packets);
        }
    }
    for (family, counts) in &drops.retries {
        for (retries, count) in RETRIES.iter().zip(counts) {
            page.count(ALLOCATIONS, &[("family", family), ("retries", retries)], *count);
        }
    }
}
