use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use http_body::{Body as _, Frame, SizeHint};

use super::{Account, AnswerRecord, Ending, Ledger, Notes};
use crate::http::problem::Code;
use crate::http::question::Format;

/// A body that tells of its answer when it is dropped.
pub(super) struct Counted {
    inner: Body,
    told: Told,
}

impl Counted {
    /// The body of an answer, of which `told` is known so far.
    pub(super) fn new(inner: Body, mut told: Told) -> Self {
        if inner.is_end_stream() || told.method == Method::HEAD {
            told.ending = Ending::Whole;
        }
        Self { inner, told }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let told = &mut self.told;
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                told.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // A reader that knows the length asks for nothing after it.
                if told.length == Some(told.bytes) {
                    told.ending = Ending::Whole;
                }
            }
            Poll::Ready(Some(Err(_))) => told.ending = Ending::Broken,
            Poll::Ready(None) => told.ending = Ending::Whole,
            Poll::Pending => {}
        }
        let waiting = &told.ledger.waiting;
        polled.map_ok(|frame| frame.map_data(|data| waiting.count(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What is told of an answer. Its drop tells it.
pub(super) struct Told {
    pub(super) ledger: Ledger,
    pub(super) account: Arc<Account>,
    pub(super) method: Method,
    pub(super) route: Arc<str>,
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) bytes: u64,
    pub(super) ending: Ending,
}

impl Drop for Told {
    fn drop(&mut self) {
        let notes = self.account.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let record = AnswerRecord {
            route: Arc::clone(&self.route),
            status: self.status,
            format: notes.format.map_or("other", Format::as_str),
            duration: self.account.began.elapsed(),
            first_row: notes.first_row,
            rows: notes.rows,
            bytes: self.bytes,
            report: notes.report,
            code: notes.problem.as_ref().map(|(code, _)| *code),
            ending: self.ending,
        };
        match &self.ledger.observe {
            Some(observe) => {
                observe(&record);
                self.log(&notes, &record);
            }
            None => tracing::debug!(
                method = %self.method, route = &*self.route, status = self.status,
                "{} {} answered {}.", self.method, self.route, self.status,
            ),
        }
    }
}

impl Told {
    fn log(&self, notes: &Notes, record: &AnswerRecord) {
        let report = notes.report.unwrap_or_default();
        let agent = notes.agent.as_ref().map(tracing::field::display);
        let error = notes.problem.as_ref().filter(|(_, detail)| !detail.is_empty());
        tracing::info!(
            method = %self.method,
            route = &*self.route,
            agent,
            client = notes.client.as_deref(),
            status = self.status,
            ending = record.ending.as_str(),
            code = record.code.map(Code::as_str),
            error = error.map(|(_, detail)| detail.as_str()),
            format = record.format,
            rows = record.rows,
            bytes = record.bytes,
            duration_ms = millis(record.duration),
            first_row_ms = record.first_row.map(millis),
            hit_rows = report.hit_rows,
            read_rows = report.miss_rows,
            joined_rows = report.joined_rows,
            stale_rows = report.stale_rows,
            upstream_requests = report.upstream_requests,
            request_id = &*self.account.request_id,
            "{} {} answered {} with {} rows in {} ms.",
            self.method, self.route, self.status, record.rows, millis(record.duration),
        );
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
