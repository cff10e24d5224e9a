//! Series as alerts select them.
//!
//! In: a snapshot. Out: one [`Series`] for each map, target or node. Must not: make up what is unknown: it has no series.

use monitor_abi::class::{Expiry, VictimState};
use monitor_model::drops::DropReason;
use monitor_model::float::float;
use monitor_model::snapshot::{EvictionCell, MapState, PresentMap, Snapshot, TargetState};

use super::definition::Series;

pub(super) fn of_node(value: f64) -> Series {
    Series { value, ..Series::default() }
}

pub(super) fn of_map(map_name: &str, value: f64) -> Series {
    Series { map_name: map_name.to_owned(), value, ..Series::default() }
}

pub(super) fn of_target(target: &str, value: f64) -> Series {
    Series { target: target.to_owned(), value, ..Series::default() }
}

/// One series for each target of which something is known.
pub(super) fn targets(snapshot: &Snapshot, value: impl Fn(&str) -> Option<u64>) -> Vec<Series> {
    snapshot.target_names().filter_map(|target| Some(of_target(target, float(value(target)?)))).collect()
}

/// One series for each target, over its services; a target with nothing known is left out.
pub(super) fn sum_of_services(
    snapshot: &Snapshot,
    value: impl Fn(&TargetState) -> Option<u64>,
) -> Vec<Series> {
    let mut sums: Vec<Series> = Vec::new();
    for state in &snapshot.targets {
        let Some(value) = value(state).map(float) else { continue };
        match sums.iter_mut().find(|sum| sum.target == state.target) {
            Some(sum) => sum.value += value,
            None => sums.push(of_target(&state.target, value)),
        }
    }
    sums
}

/// How full each map is whose LRU is common to all CPUs: one with an LRU for each evicts long before it is full.
pub(super) fn fill_of_maps(snapshot: &Snapshot) -> Vec<Series> {
    let common = snapshot.present().filter(|(_, present)| !present.is_per_cpu());
    common.map(|(map, present)| of_map(&map.map.name, present.fill())).collect()
}

/// Conntrack entries of the node, if any map of them is read.
pub(super) fn conntrack_entries(snapshot: &Snapshot) -> Vec<Series> {
    let maps: Vec<_> = snapshot.present().filter(|(map, _)| map.map.is_conntrack()).collect();
    let entries: u64 = maps.iter().map(|(_, present)| present.scan.entries).sum();
    maps.first().map(|_| of_node(float(entries))).into_iter().collect()
}

/// The maps of which it is known what is dead, with the seconds since the oldest entry in them died.
pub(super) fn oldest_expired(snapshot: &Snapshot) -> impl Iterator<Item = (&MapState, &PresentMap, u64)> {
    snapshot.present().filter_map(|(map, present)| Some((map, present, present.scan.oldest_expired?)))
}

/// Victims that were not past their lifetime, in the states asked for.
pub(super) fn evicted(cells: &[EvictionCell], wanted: impl Fn(VictimState) -> bool) -> u64 {
    let wanted = cells.iter().filter(|cell| cell.expiry != Expiry::True && wanted(cell.state));
    wanted.map(|cell| cell.evicted).sum()
}

/// Packets dropped for a reason, all directions together.
pub(super) fn dropped(snapshot: &Snapshot, reason: DropReason) -> Vec<Series> {
    let packets = snapshot.drops.iter().filter_map(|drops| drops.of(reason));
    packets.map(|packets| of_node(float(packets))).collect()
}
