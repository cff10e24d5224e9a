//! Cilium's maps: pins, and bytes into rows.

pub mod agent_config;
#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    reason = "for tests"
)]
pub mod capture;
pub mod detect;
pub mod drops;
pub mod gc;
pub mod pins;
pub mod timeouts;
