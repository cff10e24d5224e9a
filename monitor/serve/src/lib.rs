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

pub use crate::answer::{LocalReply, LocalRoute};
pub use crate::limits::Limits;
pub use crate::listen::{ListenError, Listener};
pub use crate::rendered::{Index, Rendered, Status, age_lines};
pub use crate::serve::{Server, serve};
pub use crate::web::{Web, WebError};
