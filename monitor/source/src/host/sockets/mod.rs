//! The node's TCP sockets towards its storage servers.
//!
//! In: netlink `sock_diag` with `tcp_info`, for our network namespace (the node's, with `hostNetwork`). Out:
//! [`Sockets`]: at most [`MAX_SOCKETS`] of them in detail, everything beyond counted. Must not: ask per socket, or
//! show more of a socket than its addresses, its state and its silence.
//!
//! The kernel's own clients (CIFS, NFS, iSCSI) appear here too. That an option `SO_KEEPALIVE` is set is not
//! reported by the kernel; the timer it needs is: see [`Socket::uses_keepalive`].

use std::io;
use std::net::IpAddr;

use monitor_model::host::sockets::{Socket, Sockets, TcpState};

mod netlink;
#[cfg(any(test, feature = "testing"))]
pub use crate::host::sockets::netlink::captured;
use crate::host::sockets::netlink::dump;

/// Sockets kept in detail per reading: a node has a handful towards storage.
pub const MAX_SOCKETS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("failed to {operation} a sock_diag socket: {source}{}", hint(source))]
    Netlink { operation: &'static str, source: io::Error },
    #[error("failed to dump {family} sockets: {source}{}", hint(source))]
    Refused { family: &'static str, source: io::Error },
    #[error("failed to dump {family} sockets: {reason}")]
    Protocol { family: &'static str, reason: String },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ": a seccomp or LSM policy forbids netlink sock_diag here",
        Some(libc::ENOENT | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => {
            ": this kernel has no tcp_diag: load module tcp_diag"
        }
        Some(libc::EAGAIN) => ": the kernel did not answer in time",
        _ => "",
    }
}

/// TCP sockets of our network namespace whose remote address `wanted` accepts (listeners have none). Those in
/// `TIME_WAIT` get what room the others leave: a client that reconnects in a loop leaves hundreds behind, and they
/// must not hide the one connection that matters.
pub fn read_sockets(wanted: impl Fn(IpAddr) -> bool) -> Result<Sockets, SocketsError> {
    let (mut sockets, mut ended) = (Sockets::default(), Vec::new());
    let mut keep = |socket: Option<Socket>| {
        let Some(socket) = socket else {
            sockets.undecoded += 1;
            return;
        };
        if !wanted(socket.remote.ip()) {
            return;
        }
        let (kept, skipped) = if socket.state == TcpState::TimeWait {
            (&mut ended, &mut sockets.skipped_ended)
        } else {
            (&mut sockets.sockets, &mut sockets.skipped)
        };
        if kept.len() < MAX_SOCKETS { kept.push(socket) } else { *skipped += 1 }
    };
    dump(netlink::Family::V4, &mut keep)?;
    match dump(netlink::Family::V6, &mut keep) {
        Ok(()) => {}
        // A kernel started with ipv6.disable=1 has no handler for the family: nothing is missing then.
        Err(SocketsError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let room = MAX_SOCKETS - sockets.sockets.len();
    sockets.skipped_ended += ended.len().saturating_sub(room) as u64;
    sockets.sockets.extend(ended.into_iter().take(room));
    Ok(sockets)
}

#[cfg(test)]
mod tests;
