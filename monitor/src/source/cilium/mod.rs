//! Cilium's maps: pins, and bytes into rows.

pub mod agent_config;
pub mod clock;
pub mod collector;
pub mod ct;
pub mod detect;
pub mod drops;
pub mod judge;
pub mod nat;
pub mod pins;
pub mod prefix;
pub mod target;
pub mod timeouts;
pub mod top;
pub mod tuple;
pub mod walk;

#[cfg(test)]
pub(crate) mod capture;
