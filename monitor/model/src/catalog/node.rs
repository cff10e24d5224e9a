//! Alerts on the node and on ctmon itself: is the tuning in force, can we see at all.
//!
//! In: nothing. Out: constants for the registry.
//! Must not: fire for what is absent by choice: a source without files is off, not down.

use super::{Alert, BASE, DecidedBy, Severity, Unit, minutes};

pub(super) const MAP_SMALLER_THAN_EXPECTED: Alert = Alert {
    name: "CtmonMapSmallerThanExpected",
    value: Some(1.0),
    unit: Unit::Ratio,
    hold: minutes(10),
    expr: "ctmon_map_capacity / ctmon_map_expected_capacity < $T",
    labels: &["map_name"],
    summary: "{{ $labels.map_name }} on $NODE is smaller than expected",
    description: "{{ $labels.map_name }} on $NODE has {{ $value | humanizePercentage }} of the size configured as \
                  expected. Cilium's chart ignores keys it does not know: bpf.ctTcpMax, bpf.ctAnyMax and bpf.natMax \
                  exist, bpf.mapMax does not.",
    ..BASE
};

pub(super) const TUNING_NOT_IN_FORCE: Alert = Alert {
    name: "CtmonTuningNotInForce",
    hold: minutes(15),
    expr: "1 - ctmon_sysctl_in_force > $T\n\
           or ctmon_target_mount_option_mismatches > $T",
    labels: &["sysctl", "target"],
    summary: "expected tuning is not in force on $NODE",
    description: "{{ if $labels.sysctl }}The sysctl {{ $labels.sysctl }} on $NODE does not have the value configured \
                  as expected.{{ else }}{{ printf \"%.0f\" $value }} mounts of {{ $labels.target }} on $NODE lack \
                  options configured as expected: options of a live mount change only when it is made anew.{{ end }}",
    ..BASE
};

pub(super) const FILE_HANDLES_HIGH: Alert = Alert {
    name: "CtmonFileHandlesHigh",
    value: Some(0.8),
    unit: Unit::Ratio,
    hold: minutes(10),
    expr: "ctmon_file_handles_used / ctmon_file_handles_max > $T",
    summary: "file handles run out on $NODE",
    description: "$NODE uses {{ $value | humanizePercentage }} of the file handles that fs.file-max allows: at \
                  100 % opening files and sockets fails everywhere.",
    ..BASE
};

/// One rule for all patterns: the label tells them apart, so that each is an alert of its own.
pub(super) const LOG_PATTERN: Alert = Alert {
    name: "CtmonLogPattern",
    unit: Unit::Events,
    window: Some(minutes(15)),
    decided_by: DecidedBy::Prometheus,
    expr: "increase(ctmon_log_matches_total[$window]) > $T",
    labels: &["pattern"],
    summary: "pod logs on $NODE match {{ $labels.pattern }}",
    description: "About {{ printf \"%.0f\" $value }} lines in the pod logs of $NODE matched the pattern \
                  {{ $labels.pattern }} lately.",
    ..BASE
};

pub(super) const MAP_UNREADABLE: Alert = Alert {
    name: "CtmonMapUnreadable",
    hold: minutes(10),
    expr: "ctmon_map_problem > $T",
    labels: &["map_name", "reason"],
    summary: "{{ $labels.map_name }} on $NODE cannot be read",
    description: "ctmon cannot read {{ $labels.map_name }} on $NODE ({{ $labels.reason }}): nothing it shows covers \
                  this map.",
    ..BASE
};

pub(super) const SOURCE_DOWN: Alert = Alert {
    name: "CtmonSourceDown",
    severity: Severity::Info,
    hold: minutes(15),
    expr: "1 - ctmon_source_up > $T",
    labels: &["source"],
    summary: "the source {{ $labels.source }} fails on $NODE",
    description: "ctmon's source {{ $labels.source }} on $NODE has failed for a while: its metrics are absent.",
    ..BASE
};

/// A file that was changed and is not in force: what somebody wanted is not, and a restart may fail. Well before a renewed
/// certificate that was not taken ends.
pub(super) const CONFIG_REFUSED: Alert = Alert {
    name: "CtmonConfigRefused",
    hold: minutes(10),
    decided_by: DecidedBy::Prometheus,
    expr: "1 - ctmon_config_last_reload_successful > $T\n\
           or 1 - ctmon_web_config_last_reload_successful > $T",
    summary: "ctmon on $NODE refused a changed configuration",
    description: "The configuration of ctmon on $NODE, or its web configuration with users and certificates, was \
                  changed to something that cannot be used: what was read before stays in force.",
    ..BASE
};

/// Four effective intervals, and half a minute of grace for a slow machine.
pub(super) const SNAPSHOT_OLD: Alert = Alert {
    name: "CtmonSnapshotOld",
    value: Some(4.0),
    unit: Unit::Times,
    hold: minutes(5),
    decided_by: DecidedBy::Prometheus,
    expr: "(ctmon_snapshot_age_seconds - 30) / ctmon_scan_interval_seconds > $T",
    summary: "ctmon on $NODE shows old numbers",
    description: "The last complete scan on $NODE was {{ printf \"%.0f\" $value }} intervals ago: every other number \
                  of this node is that old.",
    ..BASE
};

/// The one alert whose threshold cannot come from the exporter: it is gone when the alert matters. `null` leaves the
/// rule out of the file instead.
pub(super) const DOWN: Alert = Alert {
    name: "CtmonDown",
    severity: Severity::Critical,
    value: Some(1.0),
    hold: minutes(10),
    decided_by: DecidedBy::Prometheus,
    expr: "up{job=~\".*ctmon.*\"} < $value\n\
           or absent(ctmon_build_info)",
    summary: "ctmon is down{{ if $labels.instance }} on $NODE{{ end }}",
    description: "{{ if $labels.instance }}Prometheus cannot scrape ctmon on $NODE{{ else }}Prometheus knows no \
                  instance of ctmon{{ end }}: conntrack is not watched.",
    ..BASE
};
