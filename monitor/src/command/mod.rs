//! The verbs of the command line: each wires source, snapshot, check and output.
//!
//! In: the command line. Out: one verb run. Must not: import upwards: `cli` knows the verbs, a verb knows what verbs share,
//! and no other verb.

pub mod cli;

mod check;
pub mod config;
mod evictions;
pub mod list;
pub mod nat;
pub mod rules;
mod run;
mod scrape;
pub mod top;

mod config_file;
mod entries;
pub mod filter;
pub mod format;
pub mod global;
mod limited_output;
mod local_pages;
pub mod logging;
mod node;
pub mod printer;
mod terminal;
mod variables;

#[cfg(test)]
#[path = "../../tests/folder/mod.rs"]
mod folder;
#[cfg(test)]
mod tests;

pub use cli::main;
