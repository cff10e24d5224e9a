//! What makes an alert.
//!
//! In: nothing. Out: [`Definition`], the type of every value in this folder, and what its functions are given and give back.
//! Must not: hold one.

use monitor_config::Settings;
use monitor_model::alert::{Alert, Severity};
use monitor_model::snapshot::Snapshot;

use crate::finding::Finding;
use crate::history::History;
use crate::lookback::reading::{LookbackReading, Over};

/// An alert, what it reads of a snapshot, and the words of its findings.
#[derive(Debug)]
pub struct Definition {
    pub alert: Alert,
    pub condition: Condition,
    /// Findings beside, or in place of, one for each series that is beyond its threshold.
    pub findings: Option<fn(&Evidence<'_>) -> Vec<Finding>>,
    /// The alert about the same map whose finding this one's says too.
    pub outdoes: Option<&'static str>,
    /// Whether the condition comes and goes with every pass of the gc: how long it has held is what counts then.
    pub between_passes: bool,
}

/// What decides whether the condition holds.
#[derive(Debug)]
pub enum Condition {
    /// One snapshot: the alert is part of `ctmon_alert_active`.
    Now {
        series: fn(&Snapshot, &Settings) -> Vec<Series>,
        /// `None`: [`Definition::findings`] has them all.
        words: Option<fn(&Reading, &Evidence<'_>) -> Words>,
    },
    /// Rates and quantiles need memory: Prometheus fires the alert, the daemon's page and `ctmon check` show what its
    /// lookback window holds.
    Lookback { over: Over, series: fn(&Snapshot) -> Vec<Series>, words: fn(&LookbackReading) -> Words },
    /// Predictions, and what only Prometheus can see.
    Prometheus,
}

/// What an alert compares on one series. Names are empty where they do not apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub map_name: String,
    pub target: String,
    /// A service of the target, or a log pattern.
    pub subject: String,
    /// In the alert's unit.
    pub value: f64,
}

/// One alert of one severity on one series.
#[derive(Clone, Debug)]
pub struct Reading {
    pub definition: &'static Definition,
    pub severity: Severity,
    /// Empty where it does not apply.
    pub map_name: String,
    /// Empty where it does not apply.
    pub target: String,
    /// In the alert's unit.
    pub value: f64,
    pub threshold: f64,
    pub active: bool,
}

/// What there is to speak from.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub snapshot: &'a Snapshot,
    /// What a daemon remembers; `None` without one.
    pub history: Option<&'a History>,
    pub settings: &'a Settings,
}

/// What a finding says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The numbers behind it.
    pub evidence: String,
    /// What to do; empty where nothing needs to be done.
    pub advice: String,
}

impl Reading {
    #[must_use]
    pub const fn alert(&self) -> &'static Alert {
        &self.definition.alert
    }
}

impl Words {
    pub(crate) fn new(evidence: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), advice: advice.into() }
    }
}

impl Definition {
    /// What every alert has unless it says otherwise.
    pub(super) const BASE: Self = Self {
        alert: Alert::BASE,
        condition: Condition::Prometheus,
        findings: None,
        outdoes: None,
        between_passes: false,
    };
}
