//! The pages that the daemon has for commands on the same host.
//!
//! In: nothing. Out: their paths, for the daemon that serves and the verbs that ask.
//! Must not: know what is on them.

/// The last victims, for `ctmon evictions`.
pub(super) const EVICTIONS: &str = "/evictions";

/// The daemon's lookback windows, for `ctmon check`.
pub(super) const HISTORY: &str = "/history";
