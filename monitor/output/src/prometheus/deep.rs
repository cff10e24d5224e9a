//! What the last deep scan found, and how old that is; absent before the first one.

use monitor_model::snapshot::Snapshot;

use super::page::{Metric, Page};

const AGE: Metric = Metric::gauge(
    "ctmon_deep_scan_age_seconds",
    "Age of what the last deep scan found when the snapshot was taken: NAT ports, orphans, ghosts, collisions",
);
const USAGE_MAX: Metric = Metric::gauge(
    "ctmon_nat_port_usage_max_ratio",
    "Source ports in use towards one destination over those there are, of the fullest destination",
);
const ORPHANS: Metric = Metric::gauge(
    "ctmon_nat_orphan_entries",
    "NAT entries without a conntrack entry behind them, in two deep scans in a row",
);
const BROKEN: Metric = Metric::gauge(
    "ctmon_nat_broken_pairs",
    "NAT entries whose other half is missing, in two deep scans in a row",
);
const TARGET_ORPHANS: Metric =
    Metric::gauge("ctmon_target_nat_orphan_entries", "NAT entries of the target without a conntrack entry");
const TARGET_BROKEN: Metric =
    Metric::gauge("ctmon_target_nat_broken_pairs", "NAT entries of the target whose other half is missing");
const COLLISIONS: Metric = Metric::gauge(
    "ctmon_target_reverse_tuple_collisions",
    "Entries that look as if the target had opened the connection: new ones from the same port get no answer",
);
const COLLISIONS_ALIVE: Metric = Metric::gauge(
    "ctmon_target_reverse_tuple_collisions_alive",
    "Of these, entries that packets keep alive: no pass of the collector removes them",
);
const GHOSTS: Metric = Metric::gauge(
    "ctmon_target_ghost_entries",
    "Entries of the node's own connections to the target that no socket stands behind",
);
const UNTRACKED: Metric = Metric::gauge(
    "ctmon_target_untracked_sockets",
    "Sockets of the node to the target without a conntrack entry: nothing counted here covers them",
);
const PORTS: Metric = Metric::gauge(
    "ctmon_target_nat_ports_used",
    "Source ports in use towards one address and port of the target, of the fullest",
);
const PORT_RATIO: Metric = Metric::gauge(
    "ctmon_target_nat_port_usage_ratio",
    "Source ports in use towards one address and port of the target over those there are",
);
pub(super) const METRICS: &[Metric] = &[
    AGE,
    USAGE_MAX,
    ORPHANS,
    BROKEN,
    TARGET_ORPHANS,
    TARGET_BROKEN,
    COLLISIONS,
    COLLISIONS_ALIVE,
    GHOSTS,
    UNTRACKED,
    PORTS,
    PORT_RATIO,
];

pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    let Some(deep) = &snapshot.deep else { return };
    // One that followed the snapshot it is told with is younger than it.
    page.sample(AGE, &[], snapshot.monotonic.saturating_sub(deep.monotonic).as_secs_f64());
    let maybe = |page: &mut Page, metric, label, value: Option<u64>| {
        if let Some(value) = value {
            page.count(metric, &[label], value);
        }
    };
    for nat in &deep.nat {
        let name = ("map_name", nat.map_name.as_str());
        page.sample(USAGE_MAX, &[name], nat.port_usage_max);
        maybe(page, ORPHANS, name, nat.orphans);
        maybe(page, BROKEN, name, nat.broken_pairs);
    }
    for found in &deep.targets {
        let target = ("target", found.target.as_str());
        maybe(page, TARGET_ORPHANS, target, found.orphans);
        maybe(page, TARGET_BROKEN, target, found.broken_pairs);
        page.count(COLLISIONS, &[target], found.collisions);
        maybe(page, COLLISIONS_ALIVE, target, found.collisions_alive);
        maybe(page, GHOSTS, target, found.ghosts);
        maybe(page, UNTRACKED, target, found.untracked.map(|untracked| untracked.all()));
    }
    for service in &deep.services {
        let labels = [("target", service.target.as_str()), ("target_service", service.service.as_str())];
        page.count(PORTS, &labels, service.ports_used);
        page.sample(PORT_RATIO, &labels, service.port_usage);
    }
}
