//! The kernel evicts entries of live connections: a warning for each map, critical for each target.

use std::collections::BTreeMap;

use monitor_abi::class::VictimState;
use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series, Words};
use super::series::{self, evicted};
use crate::finding::format_number;
use crate::lookback::reading::{LookbackReading, Over};

const BOTH: Alert = Alert {
    name: "CtmonLiveEvictions",
    unit: Unit::Events,
    keep_firing_for: minutes(30),
    window: Some(minutes(10)),
    ..Alert::BASE
};

/// `unknown` states are what the count mode exports: it cannot tell whether a victim was alive, so it says nothing.
pub(super) const OF_MAPS: Definition = Definition {
    alert: Alert {
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(0))],
        expr: "sum without(state, expired)(increase(ctmon_evictions_total{map_name=~\"ct[46]_global\",\
               expired!=\"true\",state!~\"closed|unknown\"}[$window])) > $T",
        labels: &["map_name"],
        summary: "the kernel evicts live connections from {{ $labels.map_name }} on $NODE",
        description: "About {{ printf \"%.0f\" $value }} entries of live connections were evicted from \
                      {{ $labels.map_name }} on $NODE to make room. `ctmon evictions` shows the last of them.",
        ..BOTH
    },
    condition: Condition::Lookback { over: Over::Increase, series: maps, words: words_of_map },
    ..Definition::BASE
};

/// Without a map: only TCP entries are `established` or `opening`, and one label more would multiply the series.
pub(super) const OF_TARGETS: Definition = Definition {
    alert: Alert {
        severities: &[Grade::new(Severity::Critical, 0.0, minutes(0))],
        expr: "sum without(target_service, state, expired)(increase(ctmon_target_evictions_total{expired!=\"true\",\
               state=~\"established|opening\"}[$window])) > $T",
        labels: &["target"],
        summary: "the kernel evicts live connections towards {{ $labels.target }} on $NODE",
        description: "About {{ printf \"%.0f\" $value }} entries of live connections towards {{ $labels.target }} \
                      were evicted on $NODE: they stall until they time out. `ctmon evictions` shows the last of them.",
        ..BOTH
    },
    condition: Condition::Lookback { over: Over::Increase, series: targets, words: words_of_target },
    ..Definition::BASE
};

fn maps(snapshot: &Snapshot) -> Vec<Series> {
    let lasting = |state| !matches!(state, VictimState::Closed | VictimState::Unknown);
    let maps = snapshot.evictions.maps.iter();
    maps.filter(|found| matches!(found.map_name.as_str(), "ct4_global" | "ct6_global"))
        .map(|found| series::of_map(&found.map_name, float(evicted(&found.cells, lasting))))
        .collect()
}

fn targets(snapshot: &Snapshot) -> Vec<Series> {
    let lasting = |state| matches!(state, VictimState::Established | VictimState::Opening);
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for found in &snapshot.evictions.targets {
        *sums.entry(&found.target).or_default() += evicted(&found.cells, lasting);
    }
    sums.into_iter().map(|(target, sum)| series::of_target(target, float(sum))).collect()
}

fn words_of_map(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "{} entries of live connections were evicted from {} {} to make room",
            format_number(reading.value),
            reading.map_name,
            reading.lately()
        ),
        "`ctmon evictions` names the last of them, `ctmon top` who fills the map, `ctmon list --expired --count` how \
         much of it is dead",
    )
}

fn words_of_target(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "{} live connections towards {} were evicted {}: they stall until they time out",
            format_number(reading.value),
            reading.target,
            reading.lately()
        ),
        "`ctmon evictions` names the last of them",
    )
}
