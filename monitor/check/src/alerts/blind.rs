//! Other alerts are silent because what they compare is not seen.

use monitor_abi::scan::Clock;
use monitor_model::alert::{Alert, Grade, Severity, minutes};
use monitor_model::eviction_plan::Mode;
use monitor_model::float::float;
use monitor_model::snapshot::Snapshot;

use super::definition::{Condition, Definition, Series};
use super::series;

/// Without evictions nothing tells of connections that the kernel throws away; without the clock nothing is expired,
/// lingering or unanswered.
pub(super) const BLIND: Definition = Definition {
    alert: Alert {
        name: "CtmonBlind",
        severities: &[Grade::new(Severity::Info, 0.0, minutes(60))],
        expr: "count without(mode, reason, source, hz)(\n\
               ctmon_eviction_tracking{mode=\"off\"}\n\
               or ctmon_clock_info{mode=\"undecided\"}\n\
               ) > $T",
        summary: "ctmon on $NODE does not see everything",
        description: "On $NODE {{ printf \"%.0f\" $value }} of two things that other alerts need are not seen: \
                      evictions (ctmon_eviction_tracking says why), or the clock of the entries (ctmon_clock_info). Their \
                      silence is no sign of health.",
        ..Alert::BASE
    },
    // Each of the two has a finding of its own.
    condition: Condition::Now { series: |snapshot, _| vec![unseen(snapshot)], words: None },
    ..Definition::BASE
};

fn unseen(snapshot: &Snapshot) -> Series {
    let evictions = snapshot.evictions.tracking.mode == Mode::Off;
    let clock = snapshot.clock.mode == Clock::Undecided;
    series::of_node(float(u64::from(evictions) + u64::from(clock)))
}
