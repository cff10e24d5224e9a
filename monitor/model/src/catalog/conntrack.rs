//! Alerts on the maps themselves: fill, the collector, evictions, NAT.
//!
//! In: nothing. Out: constants for the registry.
//! Must not: speak of targets.

use super::{Alert, BASE, DecidedBy, SAW_TOOTH, Severity, Unit, minutes};

/// Per-CPU LRU maps evict long before they are full: their fill says nothing, so that they are left out.
pub const MAP_FILLING: Alert = Alert {
    name: "CtmonMapFilling",
    value: Some(0.75),
    unit: Unit::Ratio,
    hold: minutes(15),
    keep_firing_for: SAW_TOOTH,
    expr: "ctmon_map_entries / ctmon_map_capacity > $T\n\
           and on($cluster, instance, map_name) ctmon_map_info{lru=\"common\"}",
    labels: &["map_name"],
    summary: "{{ $labels.map_name }} on $NODE is filling up",
    description: "{{ $labels.map_name }} on $NODE is {{ $value | humanizePercentage }} full. At 100 % the kernel \
                  evicts entries of live connections without a word in any log. Look first at how many of the \
                  entries are dead: a collector that comes too seldom fills the map by itself.",
    ..BASE
};

pub const MAP_FULL: Alert = Alert {
    name: "CtmonMapFull",
    severity: Severity::Critical,
    value: Some(0.90),
    hold: minutes(5),
    summary: "{{ $labels.map_name }} on $NODE is nearly full",
    description: "{{ $labels.map_name }} on $NODE is {{ $value | humanizePercentage }} full. At 100 % the kernel \
                  evicts entries of live connections: they stall or are reset, and no log tells.",
    ..MAP_FILLING
};

pub(super) const MAP_FULL_SOON: Alert = Alert {
    name: "CtmonMapFullSoon",
    value: Some(0.5),
    unit: Unit::Ratio,
    hold: minutes(30),
    keep_firing_for: SAW_TOOTH,
    window: Some(minutes(120)),
    decided_by: DecidedBy::Prometheus,
    expr: "predict_linear(ctmon_map_entries[$window], $horizon) > ctmon_map_capacity\n\
           and ctmon_map_entries / ctmon_map_capacity > $T",
    labels: &["map_name"],
    summary: "{{ $labels.map_name }} on $NODE will be full soon",
    description: "At its present growth {{ $labels.map_name }} on $NODE reaches {{ $value | humanize }} entries \
                  within hours, more than it can hold.",
    ..BASE
};

/// Off by default: what is normal is known only by whoever runs the node.
pub(super) const ENTRIES_ABOVE_NORMAL: Alert = Alert {
    name: "CtmonEntriesAboveNormal",
    severity: Severity::Info,
    value: None,
    hold: minutes(60),
    keep_firing_for: SAW_TOOTH,
    expr: "sum without(map_name)(ctmon_map_entries{map_name=~\"(per_cluster_)?ct.*\"}) > $T",
    summary: "more conntrack entries than usual on $NODE",
    description: "$NODE tracks {{ $value | humanize }} connections, more than the number configured as normal.",
    ..BASE
};

pub(super) const ENTRIES_HIGH: Alert = Alert {
    name: "CtmonEntriesHigh",
    severity: Severity::Warning,
    hold: minutes(30),
    summary: "many conntrack entries on $NODE",
    description: "$NODE tracks {{ $value | humanize }} connections, more than the number configured as high. \
                  `ctmon top` tells who fills the table, `ctmon check` whether they are alive.",
    ..ENTRIES_ABOVE_NORMAL
};

/// The longest interval Cilium's collector drifts to is 12 h: a healthy quiet node gets there, 13 h is late.
pub(super) const COLLECTION_LAGGING: Alert = Alert {
    name: "CtmonCollectionLagging",
    value: Some(46_800.0),
    unit: Unit::Seconds,
    hold: minutes(15),
    keep_firing_for: SAW_TOOTH,
    expr: "ctmon_ct_oldest_expired_seconds > $T\n\
           or sum without(direction, state, expired)(ctmon_ct_entries{expired=\"true\"}) / ctmon_map_capacity > $share\n\
           and $on",
    labels: &["map_name"],
    summary: "dead entries are not collected from {{ $labels.map_name }} on $NODE",
    description: "{{ if gt $value 1.0 }}An entry of {{ $labels.map_name }} on $NODE has been dead for \
                  {{ $value | humanizeDuration }}, longer than Cilium's collector ever waits\
                  {{ else }}Dead entries take {{ $value | humanizePercentage }} of {{ $labels.map_name }} on \
                  $NODE{{ end }}. How the collector's interval is set there decides what \
                  helps: `ctmon check` on the node tells.",
    ..BASE
};

/// Only where `expect.gc_interval` is configured: without it the right-hand side is absent.
pub(super) const COLLECTION_SLOW: Alert = Alert {
    name: "CtmonCollectionSlow",
    value: Some(2.0),
    unit: Unit::Times,
    hold: minutes(5),
    keep_firing_for: SAW_TOOTH,
    expr: "ctmon_ct_oldest_expired_seconds\n\
           / on($cluster, instance) group_left() max by($cluster, instance)(ctmon_expected_gc_interval_seconds) > $T",
    labels: &["map_name"],
    summary: "the collector comes later than expected to {{ $labels.map_name }} on $NODE",
    description: "An entry of {{ $labels.map_name }} on $NODE has been dead for {{ printf \"%.1f\" $value }} times \
                  the expected interval of Cilium's collector: the interval believed to be in force is not.",
    ..BASE
};

/// `unknown` states are what the count mode exports: it cannot tell whether a victim was alive, so it says nothing.
pub(super) const LIVE_EVICTIONS: Alert = Alert {
    name: "CtmonLiveEvictions",
    unit: Unit::Events,
    keep_firing_for: minutes(30),
    window: Some(minutes(10)),
    decided_by: DecidedBy::Prometheus,
    expr: "sum without(state, expired)(increase(ctmon_evictions_total{map_name=~\"ct[46]_global\",\
           expired!=\"true\",state!~\"closed|unknown\"}[$window])) > $T",
    labels: &["map_name"],
    summary: "the kernel evicts live connections from {{ $labels.map_name }} on $NODE",
    description: "About {{ printf \"%.0f\" $value }} entries of live connections were evicted from \
                  {{ $labels.map_name }} on $NODE to make room. `ctmon evictions` shows the last of them.",
    ..BASE
};

pub(super) const NAT_PORTS_RUNNING_OUT: Alert = Alert {
    name: "CtmonNatPortsRunningOut",
    value: Some(0.8),
    unit: Unit::Ratio,
    hold: minutes(5),
    expr: "ctmon_nat_port_usage_max_ratio > $T",
    labels: &["map_name"],
    summary: "source ports towards one destination run out on $NODE",
    description: "{{ $value | humanizePercentage }} of the ports Cilium may masquerade to are taken towards one \
                  destination ({{ $labels.map_name }} on $NODE). At 100 % new connections there fail, all others work.",
    ..BASE
};

pub(super) const NAT_PORTS_RUNNING_OUT_CRITICAL: Alert =
    Alert { severity: Severity::Critical, value: Some(0.95), ..NAT_PORTS_RUNNING_OUT };

pub(super) const INSERT_FAILURES: Alert = Alert {
    name: "CtmonInsertFailures",
    value: Some(10.0),
    unit: Unit::Events,
    keep_firing_for: minutes(15),
    window: Some(minutes(15)),
    decided_by: DecidedBy::Prometheus,
    expr: "sum without(direction)(increase(ctmon_datapath_drops_total{reason=\"CT: Map insertion failed\"}[$window])) \
           > $T",
    labels: &["reason"],
    summary: "Cilium drops packets because it cannot track their connections on $NODE",
    description: "About {{ printf \"%.0f\" $value }} packets were dropped on $NODE with \"{{ $labels.reason }}\": \
                  new connections fail.",
    ..BASE
};

pub(super) const NAT_MAPPING_FAILURES: Alert = Alert {
    name: "CtmonNatMappingFailures",
    value: Some(0.1),
    unit: Unit::PerSecond,
    hold: minutes(10),
    window: Some(minutes(10)),
    decided_by: DecidedBy::Prometheus,
    expr: "sum without(direction)(rate(ctmon_datapath_drops_total{reason=\"No mapping for NAT masquerade\"}[$window])) \
           > $T",
    labels: &["reason"],
    summary: "Cilium finds no source port to masquerade to on $NODE",
    description: "{{ $value | humanize }} packets a second are dropped on $NODE with \"{{ $labels.reason }}\": \
                  connections out of the cluster fail.",
    ..BASE
};
