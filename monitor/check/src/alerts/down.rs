//! ctmon itself is down.

use monitor_model::alert::{Alert, Grade, Severity, minutes};

use super::definition::Definition;

/// An instance that exported our metrics within a day is ours whatever its job is called; one that never came up is known
/// by the job's name alone. The one alert whose threshold cannot come from the exporter: it is gone when the alert matters. `null` leaves the
/// rule out of the file instead.
pub(super) const DOWN: Definition = Definition {
    alert: Alert {
        name: "CtmonDown",
        severities: &[Grade::new(Severity::Critical, 1.0, minutes(10))],
        expr: "up{job=~\".*ctmon.*\"} < $value\n\
               or up < $value and on($cluster, job, instance) last_over_time(ctmon_build_info[1d])\n\
               or absent(ctmon_build_info)",
        summary: "ctmon is down{{ if $labels.instance }} on $NODE{{ end }}",
        description: "{{ if $labels.instance }}Prometheus cannot scrape ctmon on $NODE{{ else }}Prometheus knows no \
                      instance of ctmon{{ end }}: conntrack is not watched.",
        ..Alert::BASE
    },
    ..Definition::BASE
};
