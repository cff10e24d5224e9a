//! One file per verb: wires source, snapshot, check and output.

mod check;
pub mod cli;
pub mod config;
mod config_file;
mod evictions;
pub mod filter;
mod lines;
pub mod list;
pub mod logging;
pub mod nat;
mod node;
pub mod printer;
pub mod rules;
mod run;
mod scrape;
pub mod top;
mod visit;

#[cfg(test)]
mod tests;

pub use cli::main;
