//! How an alert is evaluated.
//!
//! In: an alert and one of its severities. Out: [`Rule`]. Must not: evaluate.

use std::time::Duration;

use crate::alert::{Alert, Grade};

/// How one alert of one severity is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// `None`: off.
    pub value: Option<f64>,
    /// How long the condition holds before the alert fires (`for`).
    pub hold: Duration,
    /// How long the alert stays after its condition ended.
    pub keep_firing_for: Duration,
    /// What rates and extremes look back over; `None` where the expression has no window.
    pub window: Option<Duration>,
}

impl Rule {
    /// What the alert says by itself.
    #[must_use]
    pub const fn default_of(alert: &Alert, grade: &Grade) -> Self {
        Self {
            value: grade.value,
            hold: grade.hold,
            keep_firing_for: alert.keep_firing_for,
            window: alert.window,
        }
    }
}
