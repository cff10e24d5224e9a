//! The daemon's HTTP server.
//!
//! In: ready pages, published by the scan loop through a `watch` channel, and requests from the network.
//! Out: `/metrics`, `/healthz`, `/readyz`, `/` and routes for loopback peers only.
//! Must not: start a scan, wait for one, or keep anything whose size a client decides.

mod serve;

mod listen;

mod limits;

mod pool;

mod session;

mod web;

mod connection;

mod answer;

mod body;

mod encoding;

mod rendered;

#[cfg(test)]
mod tests;

pub use answer::{LocalReply, LocalRoute};
pub use limits::Limits;
pub use listen::{ListenError, Listener};
pub use rendered::{Index, Rendered, Status, age_lines};
pub use serve::{Server, serve};
pub use web::{Web, WebError};
