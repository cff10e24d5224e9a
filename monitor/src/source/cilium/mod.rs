//! Cilium's maps: pins, and bytes into rows.

pub mod agent_config;
#[cfg(test)]
pub(crate) mod capture;
pub mod collector;
pub mod detect;
pub mod drops;
pub mod pins;
pub mod timeouts;
