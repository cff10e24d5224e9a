//! What it means: pure functions of snapshot, history and settings.
//!
//! In: a snapshot, the settings. Out: what every alert reads now, and findings with evidence and advice.
//! Must not: read anything, or know how a finding is shown.

pub mod alerts;
pub mod collector;
pub mod crossing;
mod deep;
mod expected;
pub mod files;
pub mod finding;
mod held;
pub mod history;
pub mod manifest;
pub mod plateau;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod tuning;
mod unanswered;
pub mod windows;

pub use crate::alerts::{Reading, readings};
pub use crate::finding::{Finding, Level, findings};
