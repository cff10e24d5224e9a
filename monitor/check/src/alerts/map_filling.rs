//! A map fills up.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};
use monitor_model::map_name::Table;
use monitor_model::snapshot::{MapScan, ratio};

use super::definition::{Condition, Definition, Evidence, Reading, Words};
use super::series;
use crate::gc;

/// Per-CPU LRU maps evict long before they are full: their fill says nothing, so that they are left out.
pub(super) const MAP_FILLING: Definition = Definition {
    alert: Alert {
        name: "CtmonMapFilling",
        severities: &[Grade::new(Severity::Warning, 0.75, minutes(15))],
        unit: Unit::Ratio,
        keep_firing_for: SAW_TOOTH,
        expr: EXPR,
        labels: &["map_name"],
        summary: "{{ $labels.map_name }} on $NODE is filling up",
        description: "{{ $labels.map_name }} on $NODE is {{ $value | humanizePercentage }} full. At 100 % the kernel \
                      evicts entries of live connections without a word in any log. Look first at how many of the \
                      entries are dead: a collector that comes too seldom fills the map by itself.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| series::fill_of_maps(snapshot), words: Some(words) },
    ..Definition::BASE
};

pub(super) const EXPR: &str = "ctmon_map_entries / ctmon_map_capacity > $T\n\
                               and on($cluster, instance, map_name) ctmon_map_info{lru=\"common\"}";

pub(super) fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let snapshot = evidence.snapshot;
    let Some((map, present)) = snapshot.present().find(|(map, _)| map.map.name == reading.map_name) else {
        return Words::default();
    };
    let (entries, capacity) = (present.scan.entries, present.capacity);
    let dead = dead(&present.scan);
    let known = dead.map_or_else(
        || "how many of them are dead is not known".to_owned(),
        |dead| format!("{dead} of them past their lifetime"),
    );
    let evidence = format!(
        "{entries} of {capacity} entries ({:.0} %), {known}; at 100 % the kernel evicts entries of live connections \
         without a word",
        reading.value * 100.0
    );
    let advice = match (dead, gc::outlook(snapshot)) {
        (Some(dead), Some(outlook)) if dead * 2 > entries => {
            format!("most of it is dead: {}", outlook.advice(&map.map.name))
        }
        (Some(dead), _) => alive(map.map.table, 100.0 * ratio(dead, entries)),
        (None, _) => unknown(map.map.table),
    };
    Words::new(evidence, advice)
}

/// `None` for NAT maps, whose entries have no lifetime, and while the clock is unknown.
fn dead(scan: &MapScan) -> Option<u64> {
    scan.oldest_expired.map(|_| scan.count(|cell| cell.due.expired() == Some(true)))
}

/// The size comes last: with Cilium's own gc interval a bigger map only holds more of what is dead.
fn alive(table: Table, percent: f64) -> String {
    let key = table.helm_value();
    format!(
        "{percent:.0} % of it is dead, the rest lives: `ctmon top` tells whose it is; where all of it has to be, raise \
         {key}, but not while Cilium sets its gc interval itself: the bigger map would fill with dead entries"
    )
}

fn unknown(table: Table) -> String {
    let key = table.helm_value();
    format!(
        "find out first how much is dead (`ctmon list --expired --count`; a translation goes with its connection): that \
         is the collector's; `ctmon top` tells whose the rest is, and only where all of it has to be raise {key}"
    )
}

#[cfg(test)]
mod tests {
    use monitor_abi::class::{Direction, Due, Protocol, State};
    use monitor_model::map_name::global_maps;
    use monitor_model::snapshot::Cell;

    use super::*;

    fn scan(oldest_expired: Option<u64>) -> MapScan {
        let cell = |due, entries| Cell {
            direction: Direction::Out,
            state: State::Established,
            due,
            protocol: Protocol::Tcp,
            entries,
        };
        let cells = vec![cell(Due::Overdue, 30), cell(Due::Within8000s, 70)];
        MapScan { cells, oldest_expired, ..crate::testing::walked(100).scan }
    }

    #[test]
    fn what_is_dead_is_unknown_without_a_clock_and_not_none() {
        assert_eq!(dead(&scan(Some(12))), Some(30));
        assert_eq!(dead(&scan(None)), None);
    }

    #[test]
    fn a_size_is_never_the_first_thing_to_change() {
        for map in global_maps() {
            for advice in [alive(map.table, 30.0), unknown(map.table)] {
                let at = |what: &str| advice.find(what).unwrap_or_else(|| panic!("{what} in {advice}"));
                assert!(at("dead") < at("`ctmon top`") && at("`ctmon top`") < at(map.table.helm_value()));
            }
        }
    }
}
