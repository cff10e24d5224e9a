//! Data goes out: one file per format.
//!
//! In: a snapshot, findings, settings. Out: text to any writer. Must not: open one: streams, files and sockets belong to the
//! callers.

#![warn(clippy::print_stdout, clippy::print_stderr, reason = "the caller says where to")]

pub mod cilium;
pub mod configuration;
pub mod evictions;
pub mod history;
pub mod json;
pub mod page;
pub mod prometheus;
pub mod rules;
pub mod runbooks;
pub mod table;
pub mod terminal;

/// What the tests of `check` put a node together with.
#[cfg(test)]
#[path = "../../check/src/testing.rs"]
mod testing;
#[cfg(test)]
use monitor_check::{Catalog, Finding, History, findings, readings};
