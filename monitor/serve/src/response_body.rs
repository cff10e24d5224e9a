//! A response body: up to three ready pieces.
//!
//! In: shared bytes. Out: hyper's frames, with the exact length known beforehand.
//! Must not: copy a page: a piece is a reference to what every client gets.

use std::array;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::activity::Activity;

/// The pieces still to be sent.
#[derive(Debug)]
pub(super) struct ResponseBody {
    rest: array::IntoIter<Bytes, 3>,
    activity: Option<Arc<Activity>>,
}

impl ResponseBody {
    pub(super) fn new(pieces: [Bytes; 3]) -> Self {
        Self { rest: pieces.into_iter(), activity: None }
    }

    /// Tells the connection when the last piece is handed over: its client is idle from then on.
    pub(super) fn report_to(mut self, activity: Arc<Activity>) -> Self {
        self.activity = Some(activity);
        self
    }

    fn length(&self) -> u64 {
        self.rest.as_slice().iter().map(|piece| piece.len() as u64).sum()
    }
}

impl From<Bytes> for ResponseBody {
    fn from(piece: Bytes) -> Self {
        Self::new([piece, Bytes::new(), Bytes::new()])
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.rest.find(|piece| !piece.is_empty()).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.idle();
        }
    }
}
