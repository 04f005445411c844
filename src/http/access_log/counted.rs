use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{AccessLog, Notes, RequestLog};
use crate::http::question::Format;
use crate::telemetry::{AnswerSpan, Answered, BodyEnding, Identifiers, Rows};

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

/// What is known of a response. Dropping it writes the log line, reports to the observer and ends the span.
pub(super) struct ResponseRecord {
    pub(super) access_log: AccessLog,
    pub(super) request_log: Arc<RequestLog>,
    pub(super) span: AnswerSpan,
    pub(super) method: &'static str,
    pub(super) route: Arc<str>,
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) bytes: u64,
    pub(super) ending: BodyEnding,
}

impl Drop for ResponseRecord {
    fn drop(&mut self) {
        let notes = self.request_log.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answered = self.answered(&notes);
        match &self.access_log.observer {
            Some(observer) => {
                (observer.observe)(&answered);
                self.log(&notes, &answered);
            }
            None => tracing::debug!(
                target: "fanfold::response",
                method = self.method,
                route = &*self.route,
                status = self.status,
                "{} {} answered {}.",
                self.method,
                self.route,
                self.status,
            ),
        }
        let identifiers = Identifiers {
            request_id: &self.request_log.request_id,
            agent: notes.agent,
            client: notes.client.as_deref(),
        };
        self.span.end(&answered, identifiers);
    }
}

impl ResponseRecord {
    fn answered(&self, notes: &Notes) -> Answered {
        let report = notes.report.unwrap_or_default();
        Answered {
            route: Arc::clone(&self.route),
            status: self.status,
            format: notes.format.map_or("other", Format::as_str),
            duration: self.request_log.began.elapsed(),
            first_row: notes.first_row,
            rows: notes.rows,
            bytes: self.bytes,
            rows_by: Rows {
                hit: report.hit_rows,
                miss: report.miss_rows,
                joined: report.joined_rows,
                stale: report.stale_rows,
            },
            upstream_requests: report.upstream_requests,
            missing_parts: notes.missing_parts,
            ending: self.ending,
            code: notes.problem.as_ref().map(|problem| problem.code.as_str()),
        }
    }

    fn log(&self, notes: &Notes, answered: &Answered) {
        let lines_left_out = match self.status {
            400.. => match self.access_log.sampler.refusal() {
                Some(left_out) => left_out,
                None => return,
            },
            _ => self.access_log.sampler.other(),
        };
        let Answered { rows, rows_by, .. } = answered;
        let problem = notes.problem.as_ref();
        tracing::info!(
            target: "fanfold::response",
            method = self.method,
            route = &*self.route,
            agent = notes.agent.as_ref().map(tracing::field::display),
            client = notes.client.as_deref(),
            status = self.status,
            ending = answered.ending.as_str(),
            code = problem.map(|problem| problem.code.as_str()),
            error = problem.map(|problem| problem.reason.as_str()).filter(|reason| !reason.is_empty()),
            upstream_status = problem.and_then(|problem| problem.upstream_status),
            format = answered.format,
            rows,
            bytes = answered.bytes,
            duration_ms = millis(answered.duration),
            first_row_ms = answered.first_row.map(millis),
            hit_rows = rows_by.hit,
            read_rows = rows_by.miss,
            joined_rows = rows_by.joined,
            stale_rows = rows_by.stale,
            missing_parts = answered.missing_parts,
            upstream_requests = answered.upstream_requests,
            lines_left_out = (lines_left_out > 0).then_some(lines_left_out),
            request_id = &*self.request_log.request_id,
            trace_id = self.request_log.trace.id(),
            "{} {} answered {} with {} rows in {} ms.",
            self.method,
            self.route,
            self.status,
            rows,
            millis(answered.duration),
        );
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
