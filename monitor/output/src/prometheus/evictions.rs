//! What the kernel threw away.

use monitor_model::float::float;
use monitor_model::snapshot::{EvictionCell, MapEvictions, TargetEvictions};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

const NOT_COUNTED: Option<&str> = Some("while evictions are not seen (`mode=\"off\"`)");

pub(super) const GROUP: Group = Group {
    title: "Evictions",
    about: "Entries that the kernel itself removed because a map, or a CPU's share of it, was full: a live connection \
            among them stalls or is reset, and no log tells. How much is seen depends on what the kernel allows, \
            which `ctmon_eviction_tracking` tells.",
    metrics: &[
        Metric {
            name: "ctmon_evictions_total",
            help: "Entries the kernel evicted to make room, by what they were. Deletes by Cilium are no evictions",
            kind: Kind::Counter,
            unit: Unit::Of("entries"),
            labels: &["map_name", "state", "expired"],
            absent: NOT_COUNTED,
            collect: of_maps,
        },
        Metric {
            name: "ctmon_target_evictions_total",
            help: "Evicted entries of the target; NAT entries have no state. Absent unless victims can be read",
            kind: Kind::Counter,
            unit: Unit::Of("entries"),
            labels: &["target", "target_service", "state", "expired"],
            absent: Some("unless victims can be read (`mode=\"full\"`)"),
            collect: of_targets,
        },
        Metric {
            name: "ctmon_eviction_tracking",
            help: "What is seen of evictions (full, count, off), and why no more; always 1",
            kind: Kind::Gauge,
            unit: Unit::Info,
            labels: &["mode", "reason"],
            absent: None,
            collect: |input, samples| {
                let tracking = &input.snapshot.evictions.tracking;
                samples.count(&[tracking.mode.name(), tracking.reason.name()], 1);
            },
        },
        Metric {
            name: "ctmon_eviction_recursion_misses_total",
            help: "Times the kernel skipped the program that counts evictions, because it would have run inside itself",
            kind: Kind::Counter,
            unit: Unit::Of("evictions"),
            labels: &[],
            absent: NOT_COUNTED,
            collect: |input, samples| {
                samples.known(&[], input.snapshot.evictions.recursion_misses.map(float));
            },
        },
        Metric {
            name: "ctmon_eviction_victims_lost_total",
            help: "Victims that were counted, but overwritten by later ones before `ctmon evictions` could know them",
            kind: Kind::Counter,
            unit: Unit::Of("entries"),
            labels: &[],
            absent: NOT_COUNTED,
            collect: |input, samples| {
                let evictions = &input.snapshot.evictions;
                let lost = evictions.recursion_misses.map(|_| float(evictions.victims_lost));
                samples.known(&[], lost);
            },
        },
    ],
};

fn of_maps(input: &Input<'_>, samples: &mut Samples) {
    for MapEvictions { map_name, cells } in &input.snapshot.evictions.maps {
        for EvictionCell { state, expiry, evicted } in cells {
            samples.count(&[map_name, state.name(), expiry.name()], *evicted);
        }
    }
}

fn of_targets(input: &Input<'_>, samples: &mut Samples) {
    for TargetEvictions { target, service, cells } in &input.snapshot.evictions.targets {
        for EvictionCell { state, expiry, evicted } in cells {
            samples.count(&[target, service, state.name(), expiry.name()], *evicted);
        }
    }
}
