//! Where the server listens.
//!
//! In: an address. Out: a listening socket; `[::]` takes IPv4 clients too, and becomes `0.0.0.0` without IPv6.
//! Must not: choose another port than the one asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections the kernel may hold ready until they are accepted: beyond it drops SYNs, and a client that is dropped
/// waits a second. A flood comes in thousands at once.
const BACKLOG: i32 = 1024;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "failed to listen on {address}: the port is taken: stop its owner (`ss -ltnp 'sport = :{port}'` names it) \
         or choose another port with `listen`",
        port = address.port()
    )]
    Taken { address: SocketAddr },
    #[error("failed to listen on {address}: this node has no such address: correct `listen`")]
    NoSuchAddress { address: SocketAddr },
    #[error(
        "failed to listen on {address}: not permitted: ports below 1024 need CAP_NET_BIND_SERVICE: choose \
         another port with `listen`"
    )]
    NotPermitted { address: SocketAddr },
    #[error("failed to listen on {address}")]
    Other {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `address`. Call it inside a tokio runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        match open(address) {
            Ok(listener) => Ok(listener),
            Err(error)
                if address.ip().to_canonical().is_unspecified() && address.is_ipv6() && no_ipv6(&error) =>
            {
                let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                tracing::info!(%address, %fallback, reason = %error, "no IPv6 here: listening on IPv4 only");
                open(fallback).map_err(|error| ListenError::of(fallback, error))
            }
            Err(error) => Err(ListenError::of(address, error)),
        }
    }

    /// The address in use: the kernel's choice of port when 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.socket.poll_accept(cx)
    }
}

impl ListenError {
    fn of(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address },
            _ => Self::Other { address, source },
        }
    }
}

fn open(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // net.ipv6.bindv6only decides otherwise, and a node's owner may have set it.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted daemon must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

/// The kernel was built or booted without IPv6 (no such family), or it is switched off on every interface.
fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
