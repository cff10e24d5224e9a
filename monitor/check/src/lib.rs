//! What it means: pure functions of snapshot, history and settings.
//!
//! In: a snapshot, the settings. Out: what every alert reads now, and findings with evidence and advice.
//! Must not: read anything, or know how a finding is shown.

pub mod alerts;
pub mod checks;
mod deep;
mod expected;
pub mod files;
pub mod finding;
mod findings;
pub mod gc;
pub mod history;
mod hold;
pub mod lookback;
pub mod manifest;
pub mod readings;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod transitions;
pub mod tuning;

pub use crate::alerts::{ALERTS, Catalog, Reading};
pub use crate::finding::{Finding, Level};
pub use crate::findings::{findings, is_blank};
pub use crate::history::History;
pub use crate::readings::readings;
