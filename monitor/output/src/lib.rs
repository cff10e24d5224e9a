//! Data goes out: one file per format.

pub mod cilium;
pub mod configuration;
pub mod evictions;
pub mod history;
pub mod json;
pub mod page;
pub mod prometheus;
pub mod rules;
pub mod table;
pub mod terminal;

/// What the tests of `check` put a node together with.
#[cfg(test)]
#[path = "../../check/src/testing.rs"]
mod testing;
#[cfg(test)]
use monitor_check::{Finding, findings, readings};
