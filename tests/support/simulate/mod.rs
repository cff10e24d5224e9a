//! A simulated node: what Cilium's datapath and agent would write during the incident that ctmon was written for.
//!
//! In: a setup, and the time at each tick. Out: changes to maps, and a status. Must not: sleep, read a clock or make
//! a system call: the same seed and ticks give the same changes, at any speed.

pub mod entry;
pub mod flow;
pub mod gc;
pub mod gc_interval;
pub mod model;
pub mod node;
pub mod phase;
pub mod table;
