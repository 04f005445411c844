//! What is known about a response, and where it is reported once it is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::request_log::{Notes, RequestLog};
use super::sampler::Sampler;
use crate::http::Observer;
use crate::http::question::Format;
use crate::telemetry::{AnswerSpan, Answered, Begun, BodyEnding, HeldBytes, Identifiers, Rows, Tracer};

/// Logs responses, counts them and ends their spans.
#[derive(Clone)]
pub(in crate::http) struct AccessLog {
    observer: Option<Observer>,
    pub(super) waiting: HeldBytes,
    sampler: Arc<Sampler>,
}

impl AccessLog {
    /// Reports every response in the log, to the observer, and in a span.
    pub(in crate::http) fn public(observer: Observer, waiting: HeldBytes) -> Self {
        Self { observer: Some(observer), waiting, sampler: Arc::new(Sampler::new()) }
    }

    /// Logs at debug level only, because probes come every few seconds.
    pub(in crate::http) fn admin() -> Self {
        Self { observer: None, waiting: HeldBytes::default(), sampler: Arc::new(Sampler::new()) }
    }

    /// Begins the span of a request.
    pub(super) fn span(&self, begun: Begun<'_>) -> AnswerSpan {
        match &self.observer {
            Some(observer) => observer.tracer.answer(begun),
            None => Tracer::default().answer(begun),
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
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
        let notes = self.request_log.notes.lock().clone();
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
