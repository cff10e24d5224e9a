//! One connection: what its client is doing, and for how long it may.
//!
//! In: a byte stream and the service. Out: answered requests, and a word on how the connection ended.
//! Must not: outlive its deadline, whatever the client does.
//!
//! hyper's own header timeout also runs between requests; a scraper that comes every minute would lose its
//! connection each time. So the phases are told apart here, and each has its own limit.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::body::Pieces;
use super::limits::Limits;

/// What the connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request's head is awaited or coming in.
    Head,
    /// A request is being answered.
    Answer,
    /// Between requests.
    Idle,
}

/// The phase and its beginning, shared by those who see it change.
#[derive(Debug)]
pub(super) struct Activity(watch::Sender<(Phase, Instant)>);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    Finished,
    TimedOut,
    Broken(hyper::Error),
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new((Phase::Head, Instant::now()))))
    }

    /// A request's head is complete.
    pub(super) fn answering(&self) {
        self.enter(Phase::Answer);
    }

    /// A response was handed over.
    pub(super) fn idle(&self) {
        self.enter(Phase::Idle);
    }

    /// Returns while a request is being answered, or between two: not while one is coming in. On a new connection the
    /// first counts as coming in.
    pub(super) async fn no_head_awaited(&self) {
        // The sender lives as long as `self`, so an error cannot come.
        drop(self.0.subscribe().wait_for(|(phase, _)| *phase != Phase::Head).await);
    }

    fn bytes_arrived(&self) {
        if self.0.borrow().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    fn enter(&self, phase: Phase) {
        self.0.send_replace((phase, Instant::now()));
    }

    /// Returns when a phase has lasted longer than it may.
    async fn overdue(&self, limits: &Limits) {
        let mut changes = self.0.subscribe();
        loop {
            let (phase, since) = *changes.borrow_and_update();
            let limit = phase.limit(limits);
            // The sender lives as long as `self`, so an error from `changed` cannot come.
            if tokio::time::timeout_at((since + limit).into(), changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Phase {
    const fn limit(self, limits: &Limits) -> Duration {
        match self {
            Self::Head => limits.head,
            Self::Answer => limits.answer,
            Self::Idle => limits.idle,
        }
    }
}

/// Serves one connection until its client, a limit or `closing` ends it.
///
/// Once `closing` returns, the request at hand is still answered.
pub(super) async fn talk<I, S>(
    stream: I,
    service: S,
    activity: Arc<Activity>,
    limits: &Limits,
    closing: impl Future<Output = ()>,
) -> End
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<Pieces>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = Watched { stream: TokioIo::new(stream), activity: Arc::clone(&activity) };
    let connection = http1::Builder::new()
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .header_read_timeout(None)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let mut closing = pin!(closing);
    let mut overdue = pin!(activity.overdue(limits));
    let mut closed = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => return result.map_or_else(End::Broken, |()| End::Finished),
            () = overdue.as_mut() => return End::TimedOut,
            () = closing.as_mut(), if !closed => {
                closed = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A stream that reports arriving bytes.
#[derive(Debug)]
struct Watched<I> {
    stream: I,
    activity: Arc<Activity>,
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // An end of the stream also passes here: the deadline it starts is never reached.
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.activity.bytes_arrived();
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }
}
