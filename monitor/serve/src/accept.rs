//! The accept loop.
//!
//! In: listeners, the channel of pages, a future that ends it all. Out: served connections, counted.
//! Must not: keep more connections than there are places, spin when accepting fails, or stay long after it was told to
//! end.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use monitor_model::served;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::serve_connection;
use super::connection_places::{Peer, Places};
use super::listen::Listener;
use super::server::Server;

/// The pause after a failure to accept: long enough for descriptors to come free, short beside a scrape.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `shutdown` returns, then ends within [`crate::Limits::shutdown`].
pub async fn serve(listeners: Vec<Listener>, server: Server, shutdown: impl Future<Output = ()>) {
    let server = Arc::new(server);
    let places = Places::new(server.limits.places);
    let closing = watch::Sender::new(());
    let mut connections = JoinSet::new();
    let mut failing = false;
    let mut shutdown = pin!(shutdown);
    let mut following = pin!(server.web.follow(server.limits.web_check, server.limits.web_settle));
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            () = following.as_mut() => continue,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listeners) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                served::add(&server.stats.accepted);
                if std::mem::take(&mut failing) {
                    tracing::info!("connections are accepted again");
                }
                // Collect those that have ended, so that a flood does not pile them up.
                while connections.try_join_next().is_some() {}
                let (place, leave, left) = places.enter(peer_of(&stream, peer));
                for _ in 0..left {
                    served::add(&server.stats.displaced);
                }
                let server = Arc::clone(&server);
                let mut closing = closing.subscribe();
                connections.spawn(async move {
                    tokio::select! {
                        // The signal is that its sender is gone.
                        _ = leave => tracing::debug!(%peer, "connection closed to make room"),
                        // Either a value or the sender's end: both mean close.
                        () = serve_connection(stream, peer, place, server, async { drop(closing.changed().await) }) => {}
                    }
                });
                // The connections that have to go are closed before the next one is accepted.
                if left > 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                served::add(&server.stats.accept_errors);
                // One line for a row of failures: the log must not fill while descriptors are short.
                if !failing {
                    tracing::warn!(%error, "failed to accept a connection: trying again until it works");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    closing.send_replace(());
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(server.limits.shutdown, finished).await.is_err() {
        tracing::debug!("connections were still open at the end: cut");
    }
}

/// Who a connection comes from. A client on this host that asks one of the host's own addresses comes from that same address,
/// unless it chose another on purpose.
fn peer_of(stream: &TcpStream, peer: SocketAddr) -> Peer {
    let address = peer.ip().to_canonical();
    let own = stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == address);
    Peer { address, this_host: own || address.is_loopback() }
}

async fn accept(listeners: &[Listener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// The client was gone before it was accepted; the listener is fine (accept(2) passes such errors on).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable
    )
}
