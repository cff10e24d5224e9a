//! One file per verb: wires source, snapshot, check and output.

pub mod filter;
mod lines;
pub mod list;
pub mod nat;
pub mod printer;
pub mod top;
mod visit;

#[cfg(test)]
mod tests;
pub mod config;
pub mod rules;
