//! HTTP on one byte stream.
//!
//! In: a byte stream and the service. Out: answered requests, and how the connection ended.
//! Must not: outlive the limit of what its client is doing, whatever that is.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::activity::Activity;
use super::limits::Limits;
use super::response_body::ResponseBody;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    Finished,
    TimedOut,
    Broken(hyper::Error),
}

/// Serves one connection until its client, a limit or `closing` ends it.
///
/// Once `closing` returns, the request at hand is still answered.
pub(super) async fn serve_http<I, S>(
    stream: I,
    service: S,
    activity: Arc<Activity>,
    limits: &Limits,
    closing: impl Future<Output = ()>,
) -> End
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<ResponseBody>>,
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
