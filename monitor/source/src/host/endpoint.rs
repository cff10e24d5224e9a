//! Where a mount or a session goes.
//!
//! In: nothing. Out: [`Endpoint`]. Must not: tell one protocol from another but by its service.

use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'s> {
    /// What its service is called at a target.
    pub(super) service: &'static str,
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// What the mount calls its server; sessions have addresses only.
    pub(super) server: Option<&'s str>,
}
