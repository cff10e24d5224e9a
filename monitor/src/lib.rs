//! ctmon: what Cilium's connection tracking holds, what it means, and where to read it.
//!
//! The river: [`source`] (data comes in) -> [`snapshot`] (what we know at one instant) -> [`check`] (what it
//! means) -> [`output`] (data goes out); [`command`] wires one verb each. Only `source` touches the outside.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "everything printed goes through output::terminal"
)]

pub mod model;

pub mod source;

pub mod config;

pub mod check;

pub mod output;

pub mod command;
