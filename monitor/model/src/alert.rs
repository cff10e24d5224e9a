//! An alert as rules and configuration know it: what it compares, with what, for how long, and what it says.
//!
//! In: nothing. Out: [`Alert`], from which thresholds, Prometheus rules and documentation are made. The alerts themselves
//! are values of `check`, each in a file of its own with what it reads of a snapshot.
//! Must not: evaluate a snapshot or name a node: expressions and texts are templates.

use std::time::Duration;

use crate::duration;
use crate::rule::Rule;

/// The prefix of every alert's name.
pub const PREFIX: &str = "Ctmon";

/// Alerts on what the gc removes in passes: without it each pass would resolve them, and fire them anew.
pub const SAW_TOOTH: Duration = minutes(60);

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// With [`PREFIX`]. Also the name of the runbook's page.
    pub name: &'static str,
    /// Mildest first.
    pub severities: &'static [Grade],
    /// What the thresholds count.
    pub unit: Unit,
    /// On which side of the threshold the condition holds.
    pub side: Side,
    /// Longer than zero where a saw-tooth would switch the alert off and on.
    pub keep_firing_for: Duration,
    /// What `$window` in the expression stands for.
    pub window: Option<Duration>,
    /// `PromQL` with placeholders, see [`Alert::expression`].
    pub expr: &'static str,
    /// Labels its series carry beside those of the scrape.
    pub labels: &'static [&'static str],
    /// One line; `$NODE` is the node.
    pub summary: &'static str,
    /// What it means, with the number; `$NODE` is the node.
    pub description: &'static str,
}

/// What makes an alert this severe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grade {
    pub severity: Severity,
    /// The default threshold; `None` is off until configured.
    pub value: Option<f64>,
    /// How long the condition holds before it fires (`for`).
    pub hold: Duration,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
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

/// On which side of its threshold an alert's condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Above,
    Below,
}

impl Side {
    /// Whether a value lies there.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::Below => value < threshold,
        }
    }
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

impl Grade {
    /// A grade that is on by default.
    #[must_use]
    pub const fn new(severity: Severity, value: f64, hold: Duration) -> Self {
        Self { severity, value: Some(value), hold }
    }

    /// A grade that is off until somebody configures what is too much for this node.
    #[must_use]
    pub const fn off(severity: Severity, hold: Duration) -> Self {
        Self { severity, value: None, hold }
    }
}

impl Alert {
    /// What every alert has unless it says otherwise.
    pub const BASE: Self = Self {
        name: "",
        severities: &[],
        unit: Unit::Count,
        side: Side::Above,
        keep_firing_for: Duration::ZERO,
        window: None,
        expr: "",
        labels: &[],
        summary: "",
        description: "",
    };

    /// The name without its prefix.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name)
    }

    /// How one of its grades is evaluated unless the configuration says otherwise.
    #[must_use]
    pub const fn default_rule(&self, grade: &Grade) -> Rule {
        Rule {
            value: grade.value,
            hold: grade.hold,
            keep_firing_for: self.keep_firing_for,
            window: self.window,
        }
    }

    /// The complete `PromQL` expression of one severity.
    ///
    /// `$T` is the threshold the same node exports: one series a node, with which many are compared; where none is
    /// exported the alert is off. `max by` keeps that match unique, however many jobs scrape the agent and while a
    /// restarted one's former series are not yet stale. `$cluster` is the label that tells clusters apart, whose nodes
    /// may have equal addresses: it stands first in every `on` and `by`.
    /// `$window` and `$horizon` (twice the window, in seconds) come from the rule, as does `$value`, for what no
    /// living exporter can send.
    #[must_use]
    pub fn expression(&self, severity: Severity, rule: &Rule, cluster: &str) -> String {
        let Rule { value, hold: _, keep_firing_for: _, window } = rule;
        let threshold =
            format!("ctmon_threshold{{alert=\"{}\",severity=\"{}\"}}", self.name, severity.name());
        let window = window.unwrap_or_default();
        self.expr
            .replace(
                "$T",
                &format!("on($cluster, instance) group_left() max by($cluster, instance)({threshold})"),
            )
            .replace("$cluster", cluster)
            .replace("$window", &duration::format(window))
            .replace("$horizon", &(window.as_secs() * 2).to_string())
            .replace("$value", &value.unwrap_or_default().to_string())
    }
}

/// So many minutes.
#[must_use]
pub const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}
