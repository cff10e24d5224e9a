//! How an alert is judged.
//!
//! In: the catalogue. Out: [`Rule`]. Must not: judge.

use std::time::Duration;

use crate::catalog::Alert;

/// How one alert of one severity is judged.
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
    /// What the catalogue says.
    #[must_use]
    pub fn default_of(alert: &Alert) -> Self {
        Self {
            value: alert.value,
            hold: alert.hold,
            keep_firing_for: alert.keep_firing_for,
            window: alert.window,
        }
    }
}
