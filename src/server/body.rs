use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::flow::Flow;

/// An answer under way, from the request's head to the body's end; its drop tells the flow.
#[derive(Debug)]
pub(super) struct Answering(Arc<Flow>);

impl Answering {
    pub(super) fn begin(flow: &Arc<Flow>) -> Self {
        flow.answer_begun();
        Self(Arc::clone(flow))
    }

    /// The answer's body, which carries it on.
    pub(super) const fn with(self, inner: Body) -> WatchedBody {
        WatchedBody { inner, answering: self, taken: Taken::Yes }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answer_ended();
    }
}

/// A body that notes whether it is asked for more after it gave something.
#[derive(Debug)]
pub(super) struct WatchedBody {
    inner: Body,
    answering: Answering,
    taken: Taken,
}

/// Whether what the body gave last was taken.
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
                Taken::Yes => self.answering.0.wait_ended(),
                Taken::NotYet => self.answering.0.wait_begun(),
            }
        }
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
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            this.set_taken(Taken::NotYet);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.set_taken(Taken::Yes);
    }
}
