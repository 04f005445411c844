use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::flow::ConnectionFlow;
use super::stream_progress::StreamProgress;

/// The most bytes handed to an h2 stream at a time: h2's default frame size. A client that reads less than this within the
/// stall timeout counts as stalled.
const PIECE: usize = 16 * 1024;

/// A response in progress, from the request's head to the end of the body. Dropping it records the end in the flow.
#[derive(Debug)]
pub(super) struct ActiveResponse(Arc<ConnectionFlow>);

impl ActiveResponse {
    pub(super) fn begin(flow: &Arc<ConnectionFlow>) -> Self {
        flow.response_began();
        Self(Arc::clone(flow))
    }

    /// Wraps the response's body. `stream` records what the client reads of an h2 stream; it is `None` on HTTP/1.
    pub(super) fn with(self, inner: Body, stream: Option<Arc<StreamProgress>>) -> WatchedBody {
        WatchedBody { inner, response: self, stream, rest: Bytes::new(), taken: Taken::Yes, held: None }
    }
}

impl Drop for ActiveResponse {
    fn drop(&mut self) {
        self.0.response_ended();
    }
}

/// A body that records whether it is polled again after each chunk.
///
/// An error is held back until the socket has accepted everything before it: hyper drops its buffer along with the
/// connection, and the last bytes of a failing body say why it failed. A client that no longer reads is cut off by the watch.
#[derive(Debug)]
pub(super) struct WatchedBody {
    inner: Body,
    response: ActiveResponse,
    stream: Option<Arc<StreamProgress>>,
    /// The rest of a chunk that is sent in pieces.
    rest: Bytes,
    taken: Taken,
    /// The error that ends the body, and the number of the flush that it waits for.
    held: Option<(axum::Error, u64)>,
}

/// Whether the last piece was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    NotYet,
}

impl WatchedBody {
    fn set_taken(&mut self, taken: Taken) {
        if self.taken != taken {
            self.taken = taken;
            match taken {
                Taken::Yes => self.response.0.wait_ended(),
                Taken::NotYet => self.response.0.wait_begun(),
            }
        }
        if let Some(stream) = &self.stream {
            match taken {
                Taken::Yes => stream.polled(),
                Taken::NotYet => stream.sent(),
            }
        }
    }

    /// Records that a frame is handed over. h2 gets one piece of it at a time.
    fn send(&mut self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if self.stream.is_some()
            && let Some(data) = frame.data_mut()
            && data.len() > PIECE
        {
            self.rest = data.split_off(PIECE);
        }
        self.set_taken(Taken::NotYet);
        frame
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.set_taken(Taken::Yes);
        if !this.rest.is_empty() {
            let piece = this.rest.split_to(PIECE.min(this.rest.len()));
            return Poll::Ready(Some(Ok(this.send(Frame::data(piece)))));
        }
        let flushes = this.response.0.flushes();
        if this.held.is_none() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(this.send(frame)))),
                Some(Err(error)) => this.held = Some((error, flushes.next())),
                None => return Poll::Ready(None),
            }
        }
        if let Some((_, number)) = &this.held {
            ready!(flushes.poll(*number, cx));
        }
        Poll::Ready(this.held.take().map(|(error, _)| Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.set_taken(Taken::Yes);
    }
}
