//! What the last deep scan found, and how old that is.

use monitor_model::float::float;
use monitor_model::snapshot::deep::{NatDeep, ServiceDeep, TargetDeep};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NO_SCAN: Option<&str> = Some("before the first deep scan");
const NO_NAT: Option<&str> = Some("before the first deep scan, and without a NAT map");
/// What counts only when it is seen twice.
const NO_SECOND: Option<&str> = Some("before the second deep scan");

pub(super) const GROUP: Group = Group {
    title: "Deep scan",
    about: "What conntrack and NAT tell together, and compared with the node's sockets: made every `deep_interval`, and \
            at once when source ports become hard to find. Nothing of it is there before the first deep scan, with \
            `deep_interval: 0`, or on a page of `ctmon scrape`.",
    metrics: &[
        Metric {
            name: "ctmon_deep_scan_age_seconds",
            help: "Age of what the last deep scan found when the snapshot was taken: NAT ports, orphans, ghosts, collisions",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            labels: &[],
            absent: NO_SCAN,
            collect: |input, samples| {
                // One that followed the snapshot it is told with is younger than it.
                let age = |deep| input.snapshot.monotonic.saturating_sub(deep).as_secs_f64();
                samples.known(&[], input.snapshot.deep.as_ref().map(|deep| age(deep.monotonic)));
            },
        },
        Metric {
            name: "ctmon_nat_port_usage_max_ratio",
            help: "Source ports in use towards one destination over those there are, of the fullest destination",
            kind: Kind::Gauge,
            unit: Unit::Ratio,
            labels: &["map_name"],
            absent: NO_NAT,
            collect: |input, samples| of_maps(input, samples, |nat| Some(nat.port_usage_max)),
        },
        Metric {
            name: "ctmon_nat_orphan_entries",
            help: "NAT entries without a conntrack entry behind them, in two deep scans in a row",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: NO_SECOND,
            collect: |input, samples| of_maps(input, samples, |nat| nat.orphans.map(float)),
        },
        Metric {
            name: "ctmon_nat_broken_pairs",
            help: "NAT entries whose other half is missing, in two deep scans in a row",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["map_name"],
            absent: NO_SECOND,
            collect: |input, samples| of_maps(input, samples, |nat| nat.broken_pairs.map(float)),
        },
        Metric {
            name: "ctmon_target_nat_orphan_entries",
            help: "NAT entries of the target without a conntrack entry",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target"],
            absent: NO_SECOND,
            collect: |input, samples| of_targets(input, samples, |found| found.orphans),
        },
        Metric {
            name: "ctmon_target_nat_broken_pairs",
            help: "NAT entries of the target whose other half is missing",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target"],
            absent: NO_SECOND,
            collect: |input, samples| of_targets(input, samples, |found| found.broken_pairs),
        },
        Metric {
            name: "ctmon_target_reverse_tuple_collisions",
            help: "Entries that look as if the target had opened the connection: new ones from the same port get no answer",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target"],
            absent: NO_SCAN,
            collect: |input, samples| of_targets(input, samples, |found| Some(found.collisions)),
        },
        Metric {
            name: "ctmon_target_reverse_tuple_collisions_alive",
            help: "Of these, entries that packets keep alive: no pass of the collector removes them",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target"],
            absent: Some("before the first deep scan, and while the clock of lifetimes is unknown"),
            collect: |input, samples| of_targets(input, samples, |found| found.collisions_alive),
        },
        Metric {
            name: "ctmon_target_ghost_entries",
            help: "Entries of the node's own connections to the target that no socket stands behind",
            kind: Kind::Gauge,
            unit: Unit::Of("entries"),
            labels: &["target"],
            absent: Some("before the first deep scan, and while the node's sockets are unknown"),
            collect: |input, samples| of_targets(input, samples, |found| found.ghosts),
        },
        Metric {
            name: "ctmon_target_untracked_sockets",
            help: "Sockets of the node to the target without a conntrack entry: nothing counted here covers them",
            kind: Kind::Gauge,
            unit: Unit::Of("sockets"),
            labels: &["target"],
            absent: Some("before the first deep scan, and while the node's sockets are unknown"),
            collect: |input, samples| {
                of_targets(input, samples, |found| found.untracked.map(|untracked| untracked.all()));
            },
        },
        Metric {
            name: "ctmon_target_nat_ports_used",
            help: "Source ports in use towards one address and port of the target, of the fullest",
            kind: Kind::Gauge,
            unit: Unit::Of("ports"),
            labels: &["target", "target_service"],
            absent: NO_NAT,
            collect: |input, samples| of_services(input, samples, |service| float(service.ports_used)),
        },
        Metric {
            name: "ctmon_target_nat_port_usage_ratio",
            help: "Source ports in use towards one address and port of the target over those there are",
            kind: Kind::Gauge,
            unit: Unit::Ratio,
            labels: &["target", "target_service"],
            absent: NO_NAT,
            collect: |input, samples| of_services(input, samples, |service| service.port_usage),
        },
    ],
};

/// A sample for each NAT map, where there is a value.
fn of_maps(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&NatDeep) -> Option<f64>) {
    for nat in input.snapshot.deep.iter().flat_map(|deep| &deep.nat) {
        samples.known(&[&nat.map_name], value(nat));
    }
}

/// A sample for each target, where there is a value.
fn of_targets(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&TargetDeep) -> Option<u64>) {
    for found in input.snapshot.deep.iter().flat_map(|deep| &deep.targets) {
        samples.known(&[&found.target], value(found).map(float));
    }
}

/// A sample for each target and service.
fn of_services(input: &Input<'_>, samples: &mut Samples, value: impl Fn(&ServiceDeep) -> f64) {
    for found in input.snapshot.deep.iter().flat_map(|deep| &deep.services) {
        samples.add(&[&found.target, &found.service], value(found));
    }
}
