//! The registry of alerts: what each compares, with what, for how long, and what it says.
//!
//! In: nothing. Out: [`ALERTS`], from which thresholds, Prometheus rules and findings are made.
//! Must not: judge a snapshot or name a node: expressions and texts are templates.

pub mod conntrack;
mod node;
mod target;

use std::time::Duration;

use crate::duration;
use crate::rule::Rule;

/// Every alert and severity, in display order.
pub const ALERTS: &[Alert] = &[
    conntrack::MAP_FILLING,
    conntrack::MAP_FULL,
    conntrack::MAP_FULL_SOON,
    conntrack::ENTRIES_ABOVE_NORMAL,
    conntrack::ENTRIES_HIGH,
    target::STALE_CONNECTIONS_INFO,
    target::STALE_CONNECTIONS,
    target::HALF_CLOSED_PILE_UP,
    conntrack::COLLECTION_LAGGING,
    conntrack::COLLECTION_SLOW,
    conntrack::LIVE_EVICTIONS,
    target::LIVE_EVICTIONS,
    conntrack::NAT_PORTS_RUNNING_OUT,
    conntrack::NAT_PORTS_RUNNING_OUT_CRITICAL,
    conntrack::INSERT_FAILURES,
    conntrack::NAT_MAPPING_FAILURES,
    target::REVERSE_TUPLE_COLLISION,
    target::TARGET_UNANSWERED,
    target::TARGET_UNTRACKED,
    target::STORAGE_PATH_STALLED,
    target::CIFS_RECONNECTING,
    target::ISCSI_SESSION_DOWN,
    node::MAP_SMALLER_THAN_EXPECTED,
    node::TUNING_NOT_IN_FORCE,
    node::FILE_HANDLES_HIGH,
    node::LOG_PATTERN,
    node::MAP_UNREADABLE,
    node::SOURCE_DOWN,
    node::CONFIG_REFUSED,
    node::SNAPSHOT_OLD,
    node::DOWN,
];

/// The prefix of every alert's name.
pub const PREFIX: &str = "Ctmon";

/// Dead entries as a share of the map's capacity from which the collector lags, however young they are.
pub const DEAD_SHARE: f64 = 0.15;

/// One alert of one severity.
#[derive(Debug)]
pub struct Alert {
    /// With [`PREFIX`]. Severities of one name stand next to each other. Also the name of the runbook's page.
    pub name: &'static str,
    pub severity: Severity,
    /// The default threshold; `None` is off until configured.
    pub value: Option<f64>,
    /// What the threshold counts.
    pub unit: Unit,
    /// How long the condition holds before it fires (`for`).
    pub hold: Duration,
    /// Longer than zero where a saw-tooth would switch the alert off and on.
    pub keep_firing_for: Duration,
    /// What `$window` in the expression stands for.
    pub window: Option<Duration>,
    pub decided_by: DecidedBy,
    /// `PromQL` with placeholders, see [`Alert::expression`].
    pub expr: &'static str,
    /// Labels its series carry beside those of the scrape.
    pub labels: &'static [&'static str],
    /// One line; `$NODE` is the node.
    pub summary: &'static str,
    /// What it means, with the number; `$NODE` is the node.
    pub description: &'static str,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// Every severity, mildest first.
    pub const ALL: &'static [Self] = &[Self::Info, Self::Warning, Self::Critical];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Who can tell whether the condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// One snapshot: the alert appears in `ctmon_alert_active`.
    Snapshot,
    /// Rates, minima and predictions need memory: Prometheus fires the alert, the daemon's page and `ctmon check` tell
    /// what `windows` holds of it.
    Prometheus,
}

/// What a threshold counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 1 of something limited.
    Ratio,
    /// Entries, sockets, sessions: things one can count.
    Count,
    /// Happenings within the window.
    Events,
    PerSecond,
    Seconds,
    /// Times another metric.
    Times,
}

impl Alert {
    /// The name without its prefix.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name)
    }

    /// The complete `PromQL` expression.
    ///
    /// `$T` is the threshold the same node exports: one series a node, with which many are compared; where none is
    /// exported the alert is off. `max by` keeps that match unique, however many jobs scrape the agent and while a
    /// restarted one's former series are not yet stale. `$on` is the same for set operators. `$cluster` is the label
    /// that tells clusters apart, whose nodes may have equal addresses: it stands first in every `on` and `by`.
    /// `$window` and `$horizon` (twice the window, in seconds) come from the rule, as does `$value`, for what no
    /// living exporter can send.
    #[must_use]
    pub fn expression(&self, rule: &Rule, cluster: &str) -> String {
        let Rule { value, hold: _, keep_firing_for: _, window } = rule;
        let threshold =
            format!("ctmon_threshold{{alert=\"{}\",severity=\"{}\"}}", self.name, self.severity.name());
        let window = window.unwrap_or_default();
        self.expr
            .replace(
                "$T",
                &format!("on($cluster, instance) group_left() max by($cluster, instance)({threshold})"),
            )
            .replace("$on", &format!("on($cluster, instance) {threshold}"))
            .replace("$cluster", cluster)
            .replace("$window", &duration::format(window))
            .replace("$horizon", &(window.as_secs() * 2).to_string())
            .replace("$share", &DEAD_SHARE.to_string())
            .replace("$value", &value.unwrap_or_default().to_string())
    }
}

/// What every alert has unless it says otherwise.
const BASE: Alert = Alert {
    name: "",
    severity: Severity::Warning,
    value: Some(0.0),
    unit: Unit::Count,
    hold: Duration::ZERO,
    keep_firing_for: Duration::ZERO,
    window: None,
    decided_by: DecidedBy::Snapshot,
    expr: "",
    labels: &[],
    summary: "",
    description: "",
};

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

/// Alerts on what the collector removes in passes: without it each pass would resolve them, and fire them anew.
const SAW_TOOTH: Duration = minutes(60);

#[cfg(test)]
mod tests;
