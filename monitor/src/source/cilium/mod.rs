//! Cilium's maps: pins, and bytes into rows.

pub mod clock;
pub mod ct;
pub mod detect;
pub mod drops;
pub mod nat;
pub mod pins;
pub mod timeouts;
pub mod tuple;
