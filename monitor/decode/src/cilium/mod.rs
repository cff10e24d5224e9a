//! Cilium's own formats: keys and values of its maps, its configuration.

pub mod agent_config;
pub mod ct;
pub mod nat;
pub mod tuple;
