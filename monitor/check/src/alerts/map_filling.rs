//! A map fills up.

use monitor_model::alert::{Alert, Grade, SAW_TOOTH, Severity, Unit, minutes};

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
    let dead = present.scan.count(|cell| cell.due.expired() == Some(true));
    let evidence = format!(
        "{entries} of {capacity} entries ({:.0} %), {dead} of them past their lifetime; at 100 % the kernel evicts \
         entries of live connections without a word",
        reading.value * 100.0
    );
    let outlook = gc::outlook(snapshot).filter(|_| dead * 2 > entries && map.map.is_conntrack());
    let advice = outlook.map_or_else(
        || {
            "`ctmon top` tells who fills the map; bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax set the sizes"
                .to_owned()
        },
        |outlook| format!("most of it is dead: {}", outlook.advice(&map.map.name)),
    );
    Words::new(evidence, advice)
}
