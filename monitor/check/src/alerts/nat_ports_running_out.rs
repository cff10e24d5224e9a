//! Source ports towards one destination run out.

use std::time::Duration;

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Evidence, Reading, Series, Words};
use super::series;

pub(super) const NAT_PORTS_RUNNING_OUT: Definition = Definition {
    alert: Alert {
        name: "CtmonNatPortsRunningOut",
        severities: &[
            Grade::new(Severity::Warning, 0.8, minutes(5)),
            Grade::new(Severity::Critical, 0.95, minutes(5)),
        ],
        unit: Unit::Ratio,
        expr: "ctmon_nat_port_usage_max_ratio > $T",
        labels: &["map_name"],
        summary: "source ports towards one destination run out on $NODE",
        description: "{{ $value | humanizePercentage }} of the ports Cilium may masquerade to are taken towards one \
                      destination ({{ $labels.map_name }} on $NODE). At 100 % new connections there fail, all others \
                      work.",
        ..Alert::BASE
    },
    condition: Condition::Now { series: |snapshot, _| fullest(snapshot), words: Some(words) },
    ..Definition::BASE
};

fn fullest(snapshot: &Snapshot) -> Vec<Series> {
    let maps = snapshot.deep.iter().flat_map(|deep| &deep.nat);
    maps.map(|nat| series::of_map(&nat.map_name, nat.port_usage_max)).collect()
}

fn words(reading: &Reading, evidence: &Evidence<'_>) -> Words {
    let snapshot = evidence.snapshot;
    let deep = snapshot.deep.as_ref();
    let v6 = reading.map_name.contains("_v6");
    let fullest = deep.and_then(|deep| deep.fullest.iter().find(|line| line.remote.address.is_ipv6() == v6));
    let place = fullest.map_or_else(String::new, |line| {
        format!(": {} ports of {} to {} ({})", line.ports, line.translated, line.remote, line.protocol.name())
    });
    let age = deep.map_or(Duration::ZERO, |deep| snapshot.monotonic.saturating_sub(deep.monotonic));
    let age = if age.as_secs() == 0 { String::new() } else { format!(", {} s ago", age.as_secs()) };
    let taken = reading.value * 100.0;
    Words::new(
        format!("{taken:.0} % of the source ports towards one destination are in use{age}{place}"),
        "`ctmon top --by nat-ports` names the fullest destinations; keep connections open instead of making new ones, \
         give the pods more egress addresses, or let dead ones go sooner (conntrackGCInterval)",
    )
}
