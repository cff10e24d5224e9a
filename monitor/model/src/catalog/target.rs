//! Alerts on the configured destinations: what users feel towards a storage server.
//!
//! In: nothing. Out: constants for the registry.
//! Must not: alert on stale entries as such: a healthy node always has some between two collections.

use super::{Alert, BASE, DecidedBy, SAW_TOOTH, Severity, Unit, minutes};

pub(super) const STALE_CONNECTIONS_INFO: Alert =
    Alert { severity: Severity::Info, value: Some(0.0), hold: minutes(60), ..STALE_CONNECTIONS };

pub(super) const STALE_CONNECTIONS: Alert = Alert {
    name: "CtmonStaleConnections",
    value: Some(100.0),
    hold: minutes(15),
    keep_firing_for: SAW_TOOTH,
    expr: "sum without(target_service, kind)(ctmon_target_lingering_entries) > $T",
    labels: &["target"],
    summary: "stale connections towards {{ $labels.target }} linger on $NODE",
    description: "{{ printf \"%.0f\" $value }} closed or half-closed connections towards {{ $labels.target }} are \
                  still in the table of $NODE long after their last packet. The target is 0; \
                  `ctmon list --target {{ $labels.target }} --lingering` shows them.",
    ..BASE
};

/// One closing bit keeps an entry for the full TCP timeout: the collector is not to blame for these.
pub(super) const HALF_CLOSED_PILE_UP: Alert = Alert {
    name: "CtmonHalfClosedPileUp",
    value: Some(20.0),
    hold: minutes(30),
    keep_firing_for: SAW_TOOTH,
    expr: "sum without(target_service, kind)(ctmon_target_lingering_entries{kind=\"half_closed\"}) > $T",
    labels: &["target"],
    summary: "half-closed connections towards {{ $labels.target }} pile up on $NODE",
    description: "{{ printf \"%.0f\" $value }} connections towards {{ $labels.target }} were closed by one side only \
                  and are silent; Cilium on $NODE keeps such entries for the full TCP timeout.",
    ..BASE
};

/// Without a map: only TCP entries are `established` or `opening`, and one label more would multiply the series.
pub(super) const LIVE_EVICTIONS: Alert = Alert {
    name: "CtmonLiveEvictions",
    severity: Severity::Critical,
    unit: Unit::Events,
    keep_firing_for: minutes(30),
    window: Some(minutes(10)),
    decided_by: DecidedBy::Prometheus,
    expr: "sum without(target_service, state, expired)(increase(ctmon_target_evictions_total{expired!=\"true\",\
           state=~\"established|opening\"}[$window])) > $T",
    labels: &["target"],
    summary: "the kernel evicts live connections towards {{ $labels.target }} on $NODE",
    description: "About {{ printf \"%.0f\" $value }} entries of live connections towards {{ $labels.target }} were \
                  evicted on $NODE: they stall until they time out. `ctmon evictions` shows the last of them.",
    ..BASE
};

pub(super) const REVERSE_TUPLE_COLLISION: Alert = Alert {
    name: "CtmonReverseTupleCollision",
    window: Some(minutes(15)),
    decided_by: DecidedBy::Prometheus,
    expr: "max_over_time(ctmon_target_reverse_tuple_collisions[$window]) > $T",
    labels: &["target"],
    summary: "entries in the wrong direction break new connections to {{ $labels.target }} on $NODE",
    description: "{{ printf \"%.0f\" $value }} entries on $NODE look as if {{ $labels.target }} had opened the \
                  connection: a new one from the same port leaves without masquerading and gets no answer. \
                  `ctmon list --collisions` shows them.",
    ..BASE
};

/// The one that sees "new connections fail". A SYN that is sent again ends a silence for a moment, so the least of three
/// minutes would be 0 for a single dead mount; the lower quartile forgives that, and a slow answer now and then too. Where
/// scans happen to meet those moments the condition pauses for some minutes, which is no recovery.
pub(super) const TARGET_UNANSWERED: Alert = Alert {
    name: "CtmonTargetUnanswered",
    severity: Severity::Critical,
    hold: minutes(2),
    keep_firing_for: minutes(10),
    window: Some(minutes(3)),
    decided_by: DecidedBy::Prometheus,
    expr: "quantile_over_time(0.25, ctmon_target_unanswered_entries[$window]) > $T",
    labels: &["target", "target_service"],
    summary: "{{ $labels.target }} does not answer new connections from $NODE",
    description: "At three of four scans there were connections from $NODE to {{ $labels.target }} \
                  ({{ $labels.target_service }}) that had sent a SYN and heard nothing: \
                  `ctmon list --target {{ $labels.target }} --unanswered` shows them.",
    ..BASE
};

pub(super) const TARGET_UNTRACKED: Alert = Alert {
    name: "CtmonTargetUntracked",
    severity: Severity::Info,
    hold: minutes(15),
    expr: "ctmon_target_untracked_sockets > $T",
    labels: &["target"],
    summary: "connections to {{ $labels.target }} are not in conntrack on $NODE",
    description: "{{ printf \"%.0f\" $value }} sockets of $NODE to {{ $labels.target }} have no conntrack entry: \
                  the node's own traffic bypasses Cilium there, and \"0 stale\" proves nothing about it.",
    ..BASE
};

/// A silent, retransmitting socket is the earliest sign: mounts that share it hang long before they fail.
pub(super) const STORAGE_PATH_STALLED: Alert = Alert {
    name: "CtmonStoragePathStalled",
    severity: Severity::Critical,
    hold: minutes(1),
    expr: "ctmon_target_stalled_sockets > $T",
    labels: &["target"],
    summary: "the storage path to {{ $labels.target }} is stalled on $NODE",
    description: "{{ printf \"%.0f\" $value }} sockets of $NODE to {{ $labels.target }} retransmit and hear nothing: \
                  every mount and disk behind them hangs.",
    ..BASE
};

/// Servers close idle sessions: a reconnect now and then is normal.
pub(super) const CIFS_RECONNECTING: Alert = Alert {
    name: "CtmonCifsReconnecting",
    value: Some(3.0),
    unit: Unit::Events,
    keep_firing_for: minutes(15),
    window: Some(minutes(15)),
    decided_by: DecidedBy::Prometheus,
    expr: "increase(ctmon_cifs_reconnects_total[$window]) > $T",
    labels: &["target"],
    summary: "SMB sessions to {{ $labels.target }} keep reconnecting on $NODE",
    description: "The kernel of $NODE reconnected to {{ $labels.target }} about {{ printf \"%.0f\" $value }} times \
                  lately: the sessions do not last.",
    ..BASE
};

pub(super) const ISCSI_SESSION_DOWN: Alert = Alert {
    name: "CtmonIscsiSessionDown",
    severity: Severity::Critical,
    hold: minutes(2),
    expr: "sum without(state)(ctmon_iscsi_sessions{state!=\"logged_in\"}) > $T",
    labels: &["target"],
    summary: "iSCSI sessions to {{ $labels.target }} are down on $NODE",
    description: "{{ printf \"%.0f\" $value }} iSCSI sessions of $NODE to {{ $labels.target }} are not logged in: \
                  their disks hang, then fail.",
    ..BASE
};
