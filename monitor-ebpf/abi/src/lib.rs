//! What crosses the kernel boundary: Cilium's map layouts and ctmon's own records.
//!
//! In: nothing. Out: types, offsets and pure classification shared by the eBPF programs and the agent.
//! Must not: depend on anything, carry features, or contain `unsafe`: map values are arrays of integers,
//! decoded on either side by the functions here.
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "a call per element is what a walk cannot afford, and 6.1 must see the bounds"
)]
#![expect(clippy::similar_names, reason = "ports and bounds are named as the kernel and Cilium name them")]

pub mod cell;
pub mod cilium;
pub mod class;
pub mod evict;
pub mod scan;
pub mod silence;
pub mod timeout;
