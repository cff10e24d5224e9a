//! The daemon's HTTP server.
//!
//! In: ready pages, published by the scan loop through a `watch` channel, and requests from the network.
//! Out: `/metrics`, `/healthz`, `/readyz`, `/` and routes for loopback peers only.
//! Must not: start a scan, wait for one, or keep anything whose size a client decides.

mod accept;

mod listen;

mod limits;

mod server;

mod connection_places;

mod connection;

mod web;

mod http;

mod activity;

mod answer;

mod response_body;

mod encoding;

mod rendered;

#[cfg(test)]
mod tests;

pub use crate::accept::serve;
pub use crate::answer::{LocalReply, LocalRoute};
pub use crate::limits::Limits;
pub use crate::listen::{ListenError, Listener};
pub use crate::rendered::{Index, Rendered, Status, age_lines};
pub use crate::server::Server;
pub use crate::web::{Web, WebError};
