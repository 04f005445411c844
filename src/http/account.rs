//! The outermost layer: gives a request its id, writes problems down, and tells of the answer when it is over.
//!
//! An answer is over when its body is dropped, be it sent to its end, broken off or left behind by its client; so the line
//! in the log hangs on the body. What it says beyond the outside of the answer, the handler has noted on the [`Account`].

mod counted;
mod record;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use self::counted::{Counted, Told};
use super::Observe;
use super::problem::{Code, Problem};
use super::question::Format;
use crate::domain::AgentId;
use crate::engine::CacheReport;
use crate::telemetry::HeldBytes;

pub use record::{AnswerRecord, Ending};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where answers are told of.
#[derive(Clone)]
pub(super) struct Ledger {
    observe: Option<Observe>,
    waiting: HeldBytes,
}

impl Ledger {
    /// Every answer in the log and to the observer.
    pub(super) const fn public(observe: Observe, waiting: HeldBytes) -> Self {
        Self { observe: Some(observe), waiting }
    }

    /// Probes come every few seconds: in the log only where somebody debugs.
    pub(super) fn admin() -> Self {
        Self { observe: None, waiting: HeldBytes::default() }
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
    response.map(|inner| Body::new(Counted::new(inner, told)))
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
