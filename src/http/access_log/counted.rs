use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::record::ResponseRecord;
use crate::telemetry::BodyEnding;

/// A body that reports its response when it is dropped.
pub(super) struct CountedBody {
    inner: Body,
    record: ResponseRecord,
}

impl CountedBody {
    /// Wraps the body of a response; `record` is what is known so far.
    pub(super) fn new(inner: Body, mut record: ResponseRecord) -> Self {
        if inner.is_end_stream() {
            record.ending = BodyEnding::Whole;
        }
        Self { inner, record }
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let inner = &mut self.inner;
        // A panic here would end the connection and every other response on it.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))).unwrap_or_else(|_| {
            tracing::error!(target: "fanfold::response", "The body of a response panicked. This is a bug in fanfold.");
            Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other("the body panicked")))))
        });
        let record = &mut self.record;
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // A reader that knows the length does not poll again.
                if record.length == Some(record.bytes) {
                    record.ending = BodyEnding::Whole;
                }
            }
            Poll::Ready(Some(Err(_))) => record.ending = BodyEnding::Broken,
            Poll::Ready(None) => record.ending = BodyEnding::Whole,
            Poll::Pending => {}
        }
        let waiting = &record.access_log.waiting;
        polled.map_ok(|frame| frame.map_data(|data| waiting.count(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
