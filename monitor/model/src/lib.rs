//! The types all layers share, and the snapshot: plain data.
//!
//! In: nothing; the sources fill it. Out: names and values that every other crate uses, and the [`snapshot`] that
//! checks and outputs are functions of. Must not: read anything, or know a format.

pub mod agent_config;
pub mod catalog;
pub mod classifier;
pub mod clock;
pub mod count_plan;
pub mod ct;
pub mod drops;
pub mod duration;
pub mod eviction_plan;
pub mod float;
pub mod host;
pub mod manifest;
pub mod map_name;
pub mod nat;
pub mod one_line;
pub mod prefix;
pub mod rule;
pub mod served;
pub mod snapshot;
pub mod target;
pub mod timeouts;
pub mod top;
pub mod tuple;
pub mod walk;
pub mod yaml_cost;
