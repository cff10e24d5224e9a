//! How an alert is evaluated.
//!
//! In: nothing. Out: [`Rule`]. Must not: evaluate.

use std::time::Duration;

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
