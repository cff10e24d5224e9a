//! ctmon: what Cilium's connection tracking holds, what it means, and where to read it.
//!
//! In: the command line. Out: one verb, wired from the crates below. Must not: do the work of any of them.
//!
//! [`monitor_source`] (data comes in) -> [`monitor_model`] (what we know at one instant) -> [`monitor_check`] (what it
//! means) -> [`monitor_output`] (data goes out), which [`monitor_serve`] hands to who asks.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "everything printed goes through command::terminal"
)]

pub mod command;
