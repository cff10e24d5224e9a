//! Entries in the wrong direction break new connections to a target.

use monitor_model::alert::{Alert, Grade, Severity, minutes};

use super::definition::{Definition, Evidence};
use crate::finding::{Finding, Level, own};

pub(super) const REVERSE_TUPLE_COLLISION: Definition = Definition {
    alert: Alert {
        name: "CtmonReverseTupleCollision",
        severities: &[Grade::new(Severity::Warning, 0.0, minutes(0))],
        window: Some(minutes(15)),
        expr: "max_over_time(ctmon_target_reverse_tuple_collisions[$window]) > $T",
        labels: &["target"],
        summary: "entries in the wrong direction break new connections to {{ $labels.target }} on $NODE",
        description: "{{ printf \"%.0f\" $value }} entries on $NODE look as if {{ $labels.target }} had opened the \
                      connection: a new one from the same port leaves without masquerading and gets no answer. \
                      `ctmon list --collisions` shows them.",
        ..Alert::BASE
    },
    findings: Some(findings),
    ..Definition::BASE
};

/// What the last deep scan found, whatever the threshold: one is too many.
fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let targets = evidence.snapshot.deep.iter().flat_map(|deep| &deep.targets);
    let colliding = targets.filter(|found| found.collisions > 0);
    let each = colliding.map(|found| {
        let alive = found
            .collisions_alive
            .map_or_else(String::new, |alive| format!(", {alive} of them kept alive by packets"));
        let evidence = format!(
            "{} entries look as if the target had opened the connection{alive}: a new connection from such a pod port \
             leaves without being masqueraded and gets no answer",
            found.collisions
        );
        let advice = "`ctmon list --collisions` names the pod addresses and ports; dead ones go with the collector's \
                      next pass (conntrackGCInterval), those kept alive with the pod that repeats its SYN; see \
                      cilium#47425";
        let finding = own(REVERSE_TUPLE_COLLISION.alert.name, Level::WARNING, &evidence, advice);
        Finding { target: found.target.clone(), ..finding }
    });
    each.collect()
}
