//! The rate limit: a bucket of tokens, one per request.
//!
//! In: the interval at which tokens come back, how many the bucket holds, the time. Out: whether a request may
//! pass.
//! Must not: keep anything per client: memory must not grow with the number of clients.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use monitor_model::duration;

use super::file::{WebError, WebFile};

/// The bucket.
pub(super) struct Rate {
    interval: Duration,
    /// The time in which an empty bucket fills.
    span: Duration,
    /// The instant at which an empty bucket would hold now what this one holds: a request moves it on by one
    /// interval.
    empty: Mutex<Instant>,
}

impl Rate {
    /// `None` without a limit.
    pub(super) fn of(file: &WebFile, now: Instant) -> Result<Option<Self>, WebError> {
        let settings = file.settings.rate_limit.clone().unwrap_or_default();
        let interval = settings.interval.as_deref().unwrap_or("0");
        let interval = duration::parse(interval).map_err(|why| file.problem("rate_limit.interval", why))?;
        if interval.is_zero() {
            return Ok(None);
        }
        match settings.burst.unwrap_or_default() {
            0 => {
                Err(file.problem("rate_limit.burst", "must be at least 1: with 0 nobody could read anything"))
            }
            burst => Ok(Some(Self::new(interval, burst, now))),
        }
    }

    fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        let span = interval.saturating_mul(burst);
        // Full at the start; a process younger than the span begins with what fits.
        Self { interval, span, empty: Mutex::new(now.checked_sub(span).unwrap_or(now)) }
    }

    /// Takes a token, if there is one.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(*empty).min(self.span);
        let Some(rest) = since.checked_sub(self.interval) else { return false };
        *empty = now.checked_sub(rest).unwrap_or(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let start = Instant::now() + Duration::from_secs(3600);
        let rate = Rate::new(Duration::from_secs(10), 3, start);
        let allowed = |seconds: f64, expected: bool| {
            assert_eq!(rate.allows(start + Duration::from_secs_f64(seconds)), expected, "at {seconds} s");
        };
        for (seconds, expected) in [
            (0.0, true),
            (0.0, true),
            (0.0, true),
            (0.0, false),
            (9.9, false),
            (10.0, true),
            (10.0, false),
            (25.0, true),
            (29.9, false),
            (30.0, true),
            // Never more than the burst, however long it was quiet.
            (9000.0, true),
            (9000.0, true),
            (9000.0, true),
            (9000.0, false),
        ] {
            allowed(seconds, expected);
        }
    }
}
