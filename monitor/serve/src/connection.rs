//! From an accepted socket to its end: TLS first if it is asked for, then requests.
//!
//! In: a socket, its peer, the server. Out: answered requests, everything counted.
//! Must not: outlive the TLS it began with: when that changes, clients connect again, and a request that is on its way by
//! then is answered first. Each request is judged by the policy in force when it came.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use monitor_model::served::{self, Route, Stats};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::answer;
use super::connection_places::Place;
use super::http::{End, serve_http};
use super::response_body::ResponseBody;
use super::server::Server;
use super::web::{Asker, Policy};

/// The first byte of a TLS handshake record.
const HANDSHAKE: u8 = 22;

/// The answer to plain HTTP from another host: browsers and scrapers show it, so that the user knows to write https.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 39\r\nConnection: close\r\n\r\nthis server speaks TLS: use https here\n";

/// What is known of a connection besides its bytes.
struct Client {
    peer: SocketAddr,
    /// It showed a certificate, and the certificate was verified.
    certified: bool,
    /// The policy when it connected: a later one may trust another authority.
    initial_policy: Arc<Policy>,
    activity: Arc<Activity>,
    place: Arc<Place>,
}

impl Client {
    fn is_certified_under(&self, policy: &Policy) -> bool {
        self.certified && policy.trusts_same_authority(&self.initial_policy)
    }

    fn asker(&self) -> Asker {
        Asker { address: self.place.peer().address, trusted: self.place.is_trusted() }
    }
}

/// Serves one connection until its client, a limit, `closing` or a new web configuration ends it.
pub(super) async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    server: Arc<Server>,
    closing: impl Future<Output = ()>,
) {
    let _open = Open::new(&server.stats);
    // Head and page leave in one vectored write; waiting for more would only add delay.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "failed to set TCP_NODELAY");
    }
    let mut policies = server.web.policy();
    let initial_policy = Arc::clone(&policies.borrow_and_update());
    let place = Arc::new(place);
    let client = |certified| Client {
        peer,
        certified,
        initial_policy: Arc::clone(&initial_policy),
        activity: Activity::new(),
        place: Arc::clone(&place),
    };
    let plain = client(false);
    let mut closing = std::pin::pin!(closing);
    let Some(tls) = initial_policy.tls() else {
        return requests(stream, &plain, &server, ending(closing, policies, &plain)).await;
    };
    let opened = tokio::select! {
        () = closing.as_mut() => return,
        opened = tokio::time::timeout(server.limits.handshake, open(stream, peer, &place, TlsAcceptor::from(tls))) => opened,
    };
    match opened {
        Ok(Ok(Opened::Tls(stream))) => {
            let client = client(stream.get_ref().1.peer_certificates().is_some());
            requests(stream, &client, &server, ending(closing, policies, &client)).await;
        }
        Ok(Ok(Opened::Plain(stream))) => {
            requests(stream, &plain, &server, ending(closing, policies, &plain)).await;
        }
        Ok(Err(error)) => {
            served::add(&server.stats.handshakes_failed);
            tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            served::add(&server.stats.handshakes_failed);
            tracing::debug!(%peer, "TLS handshake took too long");
        }
    }
}

/// Returns when the connection is to take no further request: at the server's end at once, after a change of TLS as
/// soon as no request is coming in.
async fn ending(
    closing: impl Future<Output = ()>,
    mut policies: watch::Receiver<Arc<Policy>>,
    client: &Client,
) {
    let replaced = async {
        // The sender lives as long as the server, which outlives its connections.
        drop(policies.wait_for(|policy| !policy.keeps_connections_of(&client.initial_policy)).await);
        client.activity.no_head_awaited().await;
    };
    tokio::select! {
        () = closing => {}
        () = replaced => {}
    }
}

/// How a client of a server with TLS opens its connection.
enum Opened {
    Tls(Box<TlsStream<TcpStream>>),
    /// Plain HTTP from this host: ctmon's other verbs ask so, since they have no certificate to verify the daemon by, and
    /// nothing leaves the host. Users, passwords and client certificates are asked for all the same.
    Plain(TcpStream),
}

/// Tells TLS from plain HTTP by the first byte, and shakes hands.
async fn open(stream: TcpStream, peer: SocketAddr, place: &Place, tls: TlsAcceptor) -> io::Result<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        if peer.ip().to_canonical().is_loopback() {
            return Ok(Opened::Plain(stream));
        }
        // Unread bytes would turn the close into a reset, and the client would not see the answer. One attempt each is
        // enough: the answer is a convenience.
        let _ = stream.try_read(&mut [0; 4096]);
        let _ = stream.try_write(SPEAKS_TLS);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    place.handshake_turn().await;
    Ok(Opened::Tls(Box::new(tls.accept(stream).await?)))
}

async fn requests<I: AsyncRead + AsyncWrite + Unpin>(
    stream: I,
    client: &Client,
    server: &Arc<Server>,
    closing: impl Future<Output = ()>,
) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(respond(&request, client, server).await)
    });
    match serve_http(stream, service, Arc::clone(&client.activity), &server.limits, closing).await {
        End::Finished => {}
        End::TimedOut => {
            served::add(&server.stats.timed_out);
            tracing::debug!(peer = %client.peer, "connection closed: its client was idle or too slow");
        }
        End::Broken(error) => {
            served::add(&server.stats.broken);
            tracing::debug!(peer = %client.peer, %error, "connection broken");
        }
    }
}

async fn respond(request: &Request<Incoming>, client: &Client, server: &Server) -> Response<ResponseBody> {
    client.activity.answering();
    client.place.asked();
    let path = request.uri().path();
    let (route, local) = answer::route(path, &server.local);
    let policy = Arc::clone(&server.web.policy().borrow());
    // The kubelet's probes carry no credentials, and learn no more than whether to restart the pod.
    let admitted = match route {
        Route::Healthz | Route::Readyz => Ok(()),
        _ => policy.admit(request.headers(), client.is_certified_under(&policy), client.asker()).await,
    };
    client.place.judged();
    let mut response = match admitted {
        Err(refusal) => answer::refuse(refusal),
        Ok(()) if !request.body().is_end_stream() => answer::refuse_body(),
        Ok(()) => {
            let rendered = Arc::clone(&server.pages.borrow());
            answer::answer(request, (route, local), client.peer.ip(), &rendered, Instant::now())
        }
    };
    policy.add_headers(response.headers_mut());
    let status = response.status().as_u16();
    if route == Route::Metrics && status == 200 {
        for _ in 0..client.place.answered() {
            served::add(&server.stats.displaced);
        }
    }
    if !server.stats.count_request(route, status) {
        // Only a local route could answer with a code of its own.
        tracing::debug!(code = status, "an answer's status code is not among the counted ones");
    }
    tracing::debug!(peer = %client.peer, method = %request.method(), path, status, "answered");
    response.map(|body| body.report_to(Arc::clone(&client.activity)))
}

/// Keeps count of open connections, however they end.
struct Open<'a>(&'a Stats);

impl<'a> Open<'a> {
    fn new(stats: &'a Stats) -> Self {
        served::add(&stats.open);
        Self(stats)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        served::subtract(&self.0.open);
    }
}
