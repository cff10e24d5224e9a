//! From an accepted socket to its end: TLS first if it is asked for, then requests.
//!
//! In: a socket, its peer, the server. Out: answered requests, everything counted.
//! Must not: outlive the TLS it began with: when that changes, clients come again, and a request that is on its way by
//! then is answered first. Each request is judged by the terms of its moment.

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

use super::answer;
use super::body::Pieces;
use super::connection::{Activity, End, talk};
use super::pool::Place;
use super::serve::Server;
use super::web::{Asker, Terms};

/// The first byte of a TLS handshake record.
const HANDSHAKE: u8 = 22;

/// What browsers and scrapers show to those who forgot the s of https.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 39\r\nConnection: close\r\n\r\nthis server speaks TLS: use https here\n";

/// What is known of a connection besides its bytes.
struct Client {
    peer: SocketAddr,
    /// It showed a certificate, and the certificate was verified.
    certified: bool,
    /// What was in force then: other terms may trust others.
    began: Arc<Terms>,
    activity: Arc<Activity>,
    place: Arc<Place>,
}

impl Client {
    fn is_certified_under(&self, terms: &Terms) -> bool {
        self.certified && terms.trusts_as(&self.began)
    }

    fn asker(&self) -> Asker {
        Asker { address: self.place.peer().address, trusted: self.place.is_trusted() }
    }
}

/// Serves one connection until its client, a limit, `closing` or a new web configuration ends it.
pub(super) async fn session(
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
    let mut terms = server.web.terms();
    let began = Arc::clone(&terms.borrow_and_update());
    let place = Arc::new(place);
    let client = |certified| Client {
        peer,
        certified,
        began: Arc::clone(&began),
        activity: Activity::new(),
        place: Arc::clone(&place),
    };
    let plain = client(false);
    let mut closing = std::pin::pin!(closing);
    let Some(tls) = began.tls() else {
        return requests(stream, &plain, &server, ending(closing, terms, &plain)).await;
    };
    let greeted = tokio::select! {
        () = closing.as_mut() => return,
        greeted = tokio::time::timeout(server.limits.handshake, greet(stream, peer, &place, TlsAcceptor::from(tls))) => greeted,
    };
    match greeted {
        Ok(Ok(Greeted::Tls(stream))) => {
            let client = client(stream.get_ref().1.peer_certificates().is_some());
            requests(stream, &client, &server, ending(closing, terms, &client)).await;
        }
        Ok(Ok(Greeted::Plain(stream))) => {
            requests(stream, &plain, &server, ending(closing, terms, &plain)).await;
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
async fn ending(closing: impl Future<Output = ()>, mut terms: watch::Receiver<Arc<Terms>>, client: &Client) {
    let replaced = async {
        // The sender lives as long as the server, which outlives its connections.
        drop(terms.wait_for(|terms| !terms.keeps_connections_of(&client.began)).await);
        client.activity.no_head_awaited().await;
    };
    tokio::select! {
        () = closing => {}
        () = replaced => {}
    }
}

/// How a client of a server with TLS begins.
enum Greeted {
    Tls(Box<TlsStream<TcpStream>>),
    /// ctmon's other verbs ask beside the daemon, where they have no certificate to verify: what they say does not
    /// leave the host. Users, passwords and client certificates are asked for all the same.
    Plain(TcpStream),
}

async fn greet(stream: TcpStream, peer: SocketAddr, place: &Place, tls: TlsAcceptor) -> io::Result<Greeted> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        if peer.ip().to_canonical().is_loopback() {
            return Ok(Greeted::Plain(stream));
        }
        // Unread bytes would turn the close into a reset, and the client would not see the answer. Both take
        // what is there and fits, which does for a courtesy.
        let _ = stream.try_read(&mut [0; 4096]);
        let _ = stream.try_write(SPEAKS_TLS);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    place.handshake_turn().await;
    Ok(Greeted::Tls(Box::new(tls.accept(stream).await?)))
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
    match talk(stream, service, Arc::clone(&client.activity), &server.limits, closing).await {
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

async fn respond(request: &Request<Incoming>, client: &Client, server: &Server) -> Response<Pieces> {
    client.activity.answering();
    client.place.asked();
    let path = request.uri().path();
    let (route, local) = answer::route(path, &server.local);
    let terms = Arc::clone(&server.web.terms().borrow());
    // The kubelet's probes carry no credentials, and learn no more than whether to restart the pod.
    let admitted = match route {
        Route::Healthz | Route::Readyz => Ok(()),
        _ => terms.admit(request.headers(), client.is_certified_under(&terms), client.asker()).await,
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
    terms.add_headers(response.headers_mut());
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
