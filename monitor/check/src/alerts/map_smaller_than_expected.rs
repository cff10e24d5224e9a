//! A map is smaller than expected.

use monitor_config::Settings;
use monitor_model::alert::{Alert, Grade, Severity, Side, Unit, minutes};
use monitor_model::snapshot::{Snapshot, ratio};

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;
use crate::tuning::{expected_capacity, mebibytes};

pub(super) const MAP_SMALLER_THAN_EXPECTED: Definition = Definition {
    alert: Alert {
        name: "CtmonMapSmallerThanExpected",
        severities: &[Grade::new(Severity::Warning, 1.0, minutes(10))],
        unit: Unit::Ratio,
        side: Side::Below,
        expr: "ctmon_map_capacity / ctmon_map_expected_capacity < $T",
        labels: &["map_name"],
        summary: "{{ $labels.map_name }} on $NODE is smaller than expected",
        description: "{{ $labels.map_name }} on $NODE has {{ $value | humanizePercentage }} of the size configured as \
                      expected. Cilium's chart ignores keys it does not know: bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax \
                      exist, bpf.mapMax does not. Whether it has to be that size is the first question: with Cilium's own \
                      gc interval a bigger map holds more dead entries.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: shares, words: Some(words) },
    ..Definition::BASE
};

fn shares(snapshot: &Snapshot, settings: &Settings) -> Vec<Series> {
    let shares = snapshot.present().filter_map(|(map, present)| {
        let expected = expected_capacity(&map.map, settings)?;
        Some(series::of_map(&map.map.name, ratio(present.capacity.into(), expected)))
    });
    shares.collect()
}

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let found = evidence.snapshot.present().find(|(map, _)| map.map.name == reading.map_name);
    let Some((map, present)) = found else { return Words::default() };
    let expected = expected_capacity(&map.map, evidence.settings).unwrap_or(0);
    let memory = present.memory_bytes.map_or_else(String::new, |bytes| {
        let wanted = bytes / u64::from(present.capacity).max(1) * expected;
        let (now, then) = (mebibytes(bytes), mebibytes(wanted));
        format!("; it takes {now} of memory, the expected size would take about {then}")
    });
    let (key, expectation) = (map.map.table.helm_value(), map.map.table.name());
    Words::new(
        format!(
            "the map holds {} entries, expected at least {expected} (expect.map_capacity.{expectation}){memory}",
            present.capacity
        ),
        format!(
            "ask first whether living entries need it: with Cilium's own gc interval a bigger map holds more dead ones \
             (fix the interval before any size); then set {key} in Cilium's Helm values: bpf.mapMax.* does not \
             exist and is silently ignored. Not needed: remove it from expect.map_capacity"
        ),
    )
}
