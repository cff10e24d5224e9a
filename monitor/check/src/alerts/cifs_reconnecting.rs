//! SMB sessions to a target do not last.

use monitor_model::alert::{Alert, Grade, Severity, Unit, minutes};
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series, Words};
use super::series;
use crate::finding::format_number;
use crate::lookback::reading::{LookbackReading, Over};

/// Servers close idle sessions: a reconnect now and then is normal.
pub(crate) const CIFS_RECONNECTING: Definition = Definition {
    alert: Alert {
        name: "CtmonCifsReconnecting",
        severities: &[Grade::new(Severity::Warning, 3.0, minutes(0))],
        unit: Unit::Events,
        keep_firing_for: minutes(15),
        window: Some(minutes(15)),
        expr: "increase(ctmon_cifs_reconnects_total[$window]) > $T",
        labels: &["target"],
        summary: "SMB sessions to {{ $labels.target }} keep reconnecting on $NODE",
        description: "The kernel of $NODE reconnected to {{ $labels.target }} about {{ printf \"%.0f\" $value }} \
                      times lately: the sessions do not last.",
        ..Alert::BASE
    },
    condition: Condition::Lookback { over: Over::Increase, series: reconnects, words },
    ..Definition::BASE
};

fn reconnects(snapshot: &Snapshot) -> Vec<Series> {
    let targets = snapshot.host.cifs.iter().flat_map(|cifs| &cifs.targets);
    targets.filter_map(|found| Some(series::of_target(&found.target, float(found.reconnects?)))).collect()
}

fn words(reading: &LookbackReading) -> Words {
    Words::new(
        format!(
            "the SMB client reconnected {} times {}: the sessions do not last",
            format_number(reading.value),
            reading.lately()
        ),
        "read what the client says (`dmesg | grep CIFS`) and the server's own log at that time",
    )
}
