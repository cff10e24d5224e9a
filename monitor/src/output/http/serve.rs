//! The accept loop.
//!
//! In: listeners, the channel of pages, a future that ends it all. Out: served connections, counted.
//! Must not: accept more than the limit, spin when accepting fails, or stay long after it was told to end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer::{self, LocalRoute};
use super::body::Pieces;
use super::connection::{Activity, End, talk};
use super::limits::Limits;
use super::listen::Listener;
use super::rendered::Rendered;
use super::stats::{self, Stats};

/// The pause after a failure to accept: long enough for descriptors to come free, short beside a scrape.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Everything the server needs besides its sockets.
#[derive(Clone)]
pub struct Server {
    /// The pages of the moment.
    pub pages: watch::Receiver<Arc<Rendered>>,
    /// Pages for processes on this host.
    pub local: Vec<LocalRoute>,
    pub limits: Limits,
    pub stats: Arc<Stats>,
}

/// Serves until `shutdown` returns, then ends within [`Limits::shutdown`].
pub async fn serve(listeners: Vec<Listener>, server: Server, shutdown: impl Future<Output = ()>) {
    let server = Arc::new(server);
    let places = Arc::new(Semaphore::new(server.limits.connections));
    let closing = watch::Sender::new(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listeners) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                stats::add(&server.stats.accepted);
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    stats::add(&server.stats.refused);
                    tracing::debug!(%peer, limit = server.limits.connections, "too many connections: closed");
                    continue;
                };
                let server = Arc::clone(&server);
                let mut closing = closing.subscribe();
                connections.spawn(async move {
                    connection(stream, peer, server, async move {
                        // Either a word or the sender's end: both mean close.
                        let _ = closing.changed().await;
                    })
                    .await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                stats::add(&server.stats.accept_errors);
                tracing::warn!(%error, "failed to accept a connection: trying again shortly");
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    server: Arc<Server>,
    closing: impl Future<Output = ()>,
) {
    let _open = Open::new(&server.stats);
    // Head and page leave in one vectored write; waiting for more would only add delay.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "failed to set TCP_NODELAY");
    }
    let activity = Activity::new();
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, peer, &server, &activity);
        async { Ok::<_, Infallible>(response) }
    });
    match talk(stream, service, Arc::clone(&activity), &server.limits, closing).await {
        End::Finished => {}
        End::TimedOut => {
            stats::add(&server.stats.timed_out);
            tracing::debug!(%peer, "connection closed: its client was idle or too slow");
        }
        End::Broken(error) => {
            stats::add(&server.stats.broken);
            tracing::debug!(%peer, %error, "connection broken");
        }
    }
}

fn respond(
    request: &Request<Incoming>,
    peer: SocketAddr,
    server: &Server,
    activity: &Arc<Activity>,
) -> Response<Pieces> {
    activity.answering();
    let route = answer::route(request.uri().path(), &server.local);
    let response = if request.body().is_end_stream() {
        let rendered = Arc::clone(&server.pages.borrow());
        answer::answer(request, route, peer.ip(), &rendered, Instant::now())
    } else {
        answer::refuse_body()
    };
    server.stats.count_request(route.0, response.status().as_u16());
    tracing::debug!(%peer, method = %request.method(), path = request.uri().path(), status = response.status().as_u16(), "answered");
    response.map(|body| body.report_to(Arc::clone(activity)))
}

/// Keeps count of open connections, however they end.
struct Open<'a>(&'a Stats);

impl<'a> Open<'a> {
    fn new(stats: &'a Stats) -> Self {
        stats::add(&stats.open);
        Self(stats)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        stats::subtract(&self.0.open);
    }
}
