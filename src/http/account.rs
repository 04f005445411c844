//! The outermost layer: gives a request its id, writes problems down, and tells of the answer when it is over.
//!
//! An answer is over when its body is dropped, be it sent to its end, broken off or left behind by its client; so the line
//! in the log hangs on the body. What it says beyond the outside of the answer, the handler has noted on the [`Account`].

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use super::Observe;
use super::problem::{Code, Problem};
use super::question::Format;
use crate::domain::AgentId;
use crate::engine::CacheReport;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where answers are told of.
#[derive(Clone)]
pub(super) struct Ledger {
    observe: Option<Observe>,
}

impl Ledger {
    /// Every answer in the log and to the observer.
    pub(super) fn public(observe: Observe) -> Self {
        Self { observe: Some(observe) }
    }

    /// Probes come every few seconds: in the log only where somebody debugs.
    pub(super) const fn admin() -> Self {
        Self { observe: None }
    }
}

/// An answer that is over.
#[derive(Clone, Debug)]
pub struct AnswerRecord {
    /// The path's template; `other` where no path matched.
    pub route: Arc<str>,
    /// The status that was sent, whatever became of the body.
    pub status: u16,
    /// `json` or `ndjson` of an answer, `other` of anything else.
    pub format: &'static str,
    /// From the request to the last byte.
    pub duration: Duration,
    /// From the request to the first row, if one was sent.
    pub first_row: Option<Duration>,
    /// Rows in the body.
    pub rows: u64,
    /// Bytes of the body, as coded.
    pub bytes: u64,
    /// How the rows were come by, if the engine was asked and came to its end.
    pub report: Option<CacheReport>,
    /// The problem that was answered, or that broke the body.
    pub code: Option<Code>,
    /// What became of the body.
    pub ending: Ending,
}

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Sent to its end.
    Whole,
    /// Broken off: what was still to come could not be had.
    Broken,
    /// Left behind: the client went away, or took nothing for too long.
    Left,
}

impl Ending {
    /// The word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

/// What a handler notes of the answer it makes.
#[derive(Debug)]
pub(super) struct Account {
    /// The caller's own identifier, or a new one.
    pub(super) request_id: Arc<str>,
    began: Instant,
    notes: Mutex<Notes>,
}

#[derive(Clone, Debug, Default)]
struct Notes {
    agent: Option<AgentId>,
    client: Option<Arc<str>>,
    format: Option<Format>,
    first_row: Option<Duration>,
    rows: u64,
    report: Option<CacheReport>,
    problem: Option<(Code, String)>,
}

impl Account {
    /// An account for a request that comes now.
    pub(super) fn open(request_id: Arc<str>) -> Self {
        Self { request_id, began: Instant::now(), notes: Mutex::default() }
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whom the question is about.
    pub(super) fn note_agent(&self, agent: AgentId) {
        self.note(|notes| notes.agent = Some(agent));
    }

    /// The name of the token that asks.
    pub(super) fn note_client(&self, name: Option<Arc<str>>) {
        self.note(|notes| notes.client = name);
    }

    /// The form of the answer.
    pub(super) fn note_format(&self, format: Format) {
        self.note(|notes| notes.format = Some(format));
    }

    /// More rows go into the body.
    pub(super) fn add_rows(&self, rows: u64) {
        let since = self.began.elapsed();
        self.note(|notes| {
            notes.rows += rows;
            notes.first_row = notes.first_row.or((rows > 0).then_some(since));
        });
    }

    /// How the rows were come by.
    pub(super) fn note_report(&self, report: CacheReport) {
        self.note(|notes| notes.report = Some(report));
    }

    /// What was answered instead of rows, or broke them off.
    pub(super) fn note_problem(&self, problem: &Problem) {
        self.note(|notes| notes.problem = Some((problem.code, problem.detail.clone())));
    }
}

/// The layer.
pub(super) async fn account(State(ledger): State<Ledger>, mut request: Request, next: Next) -> Response {
    let account = Arc::new(Account::open(request_id(request.headers())));
    let path = request.extensions().get::<MatchedPath>();
    let route: Arc<str> = path.map_or("other", MatchedPath::as_str).into();
    let method = request.method().clone();
    request.extensions_mut().insert(Arc::clone(&account));

    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        account.note_problem(&problem);
        let body = problem.write(&account.request_id, response.headers_mut());
        *response.body_mut() = Body::from(body);
    }
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(&*account.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    let took = account.began.elapsed().as_secs_f64() * 1000.0;
    super::present::set(headers, SERVER_TIMING, Some(format!("answer;dur={took:.1}")));

    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let told = Told { ledger, account, method, route, status, length, bytes: 0, ending: Ending::Left };
    response.map(|inner| {
        let mut told = told;
        if inner.is_end_stream() || told.method == Method::HEAD {
            told.ending = Ending::Whole;
        }
        Body::new(Counted { inner, told })
    })
}

/// The caller's identifier if it is one that can stand in a log as it is.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let is_sane = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane) {
        Some(id) => id.into(),
        None => uuid::Uuid::new_v4().to_string().into(),
    }
}

/// A body that tells of its answer when it is dropped.
struct Counted {
    inner: Body,
    told: Told,
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
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What is told of an answer. Its drop tells it.
struct Told {
    ledger: Ledger,
    account: Arc<Account>,
    method: Method,
    route: Arc<str>,
    status: u16,
    length: Option<u64>,
    bytes: u64,
    ending: Ending,
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

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_identifier_is_kept_if_it_can_stand_in_a_log() {
        let id = |value: &str| {
            request_id(&[(REQUEST_ID, HeaderValue::try_from(value).unwrap())].into_iter().collect())
        };
        assert_eq!(&*id("job-7.a_B"), "job-7.a_B");
        for bad in ["", "two words", "a\"b", &"x".repeat(129)] {
            assert_eq!(uuid::Uuid::parse_str(&id(bad)).unwrap().get_version_num(), 4, "{bad}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
