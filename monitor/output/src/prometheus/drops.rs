//! What Cilium's datapath dropped, and how hard source ports were to find.

use monitor_model::drops::{DIRECTIONS, DropReason, RETRIES};

use super::metric::{Group, Input, Kind, Metric, Unit};
use super::samples::Samples;

pub(super) const GROUP: Group = Group {
    title: "Drops and source ports",
    about: "Counters of Cilium's datapath. They begin anew when Cilium makes its maps anew.",
    metrics: &[
        Metric {
            name: "ctmon_datapath_drops_total",
            help: "Packets dropped for reasons of conntrack and NAT, in Cilium's words, since its counters were made",
            kind: Kind::Counter,
            unit: Unit::Of("packets"),
            labels: &["reason", "direction"],
            absent: Some("without `cilium_metrics`, or where the datapath does not count in it"),
            collect: drops,
        },
        Metric {
            name: "ctmon_nat_alloc_retries_total",
            help: "Source ports allocated by how many tries more it took; exhausted: none was found",
            kind: Kind::Counter,
            unit: Unit::Of("allocations"),
            labels: &["family", "retries"],
            absent: Some("where Cilium has no such maps: older versions do not count them"),
            collect: allocations,
        },
    ],
};

fn drops(input: &Input<'_>, samples: &mut Samples) {
    let packets = input.snapshot.drops.iter().filter_map(|drops| drops.packets.as_ref()).flatten();
    for (reason, packets) in DropReason::ALL.iter().zip(packets) {
        for (direction, packets) in DIRECTIONS.iter().zip(packets) {
            samples.count(&[reason.text(), direction], *packets);
        }
    }
}

fn allocations(input: &Input<'_>, samples: &mut Samples) {
    for (family, counts) in input.snapshot.drops.iter().flat_map(|drops| &drops.retries) {
        for (retries, count) in RETRIES.iter().zip(counts) {
            samples.count(&[family, retries], *count);
        }
    }
}
