//! By how much two sources of a timeout may differ.
//!
//! In: the interval between two reports of an entry. Out: a duration. Must not: know where timeouts come from.

use std::time::Duration;

use crate::clock::Reading;

/// Clock units by which lifetime and report may be off: each was rounded on its own.
pub const ROUNDING: u32 = 2;

/// By how much two sources of a timeout may differ that say the same.
#[must_use]
pub fn tolerance(interval: Duration, clock: Option<Reading>) -> Duration {
    interval + clock.and_then(|clock| clock.duration(ROUNDING.into())).unwrap_or_default()
}
