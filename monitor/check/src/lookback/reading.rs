//! What a lookback window is asked for, and what it holds.
//!
//! In: nothing. Out: [`Over`], [`LookbackReading`]. Must not: keep a window.

use std::time::Duration;

use monitor_model::alert::{Alert, Severity};
use monitor_model::duration;

/// What an alert takes of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// How much a counter rose.
    Increase,
    /// The same for each second.
    PerSecond,
    /// What three quarters of a whole window were not below, as `quantile_over_time(0.25, ...)` has it.
    LowerQuartile,
}

/// What the window of one alert holds on one series. Names are empty where they do not apply.
#[derive(Clone, Debug)]
pub struct LookbackReading {
    pub alert: &'static Alert,
    pub severity: Severity,
    pub map_name: String,
    pub target: String,
    /// A service of the target, or a log pattern.
    pub subject: String,
    pub window: Duration,
    /// In the alert's unit.
    pub value: f64,
}

impl LookbackReading {
    /// The window in words.
    pub(crate) fn lately(&self) -> String {
        format!("in the last {}", duration::format(self.window))
    }
}
