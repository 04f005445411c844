//! The outermost layer: gives a request its id, writes problems down, and tells of the answer when it is over.
//!
//! An answer is over when its body is dropped, be it sent to its end, broken off or left behind by its client; so the line
//! in the log hangs on the body. What it says beyond the outside of the answer, the handler has noted on the [`Account`].

mod counted;
mod sampler;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body as _;
use tokio::time::Instant;

use self::counted::{Counted, Told};
use self::sampler::Sampler;
use super::Observer;
use super::problem::{Code, Problem};
use super::question::Format;
use crate::domain::AgentId;
use crate::engine::{CacheReport, Verdict};
use crate::telemetry::{AnswerSpan, Begun, Ending, HeldBytes, Trace, Tracer};

/// The status that the log has for a caller who left before there was one, as nginx and others write it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What is shorter than this and happens to stand in a credential gives nothing of it away.
const SHORTEST_SECRET: usize = 4;
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Where answers are told of.
#[derive(Clone)]
pub(super) struct Ledger {
    observer: Option<Observer>,
    waiting: HeldBytes,
    sampler: Arc<Sampler>,
}

impl Ledger {
    /// Every answer in the log, to the observer, and in a span.
    pub(super) fn public(observer: Observer, waiting: HeldBytes) -> Self {
        Self { observer: Some(observer), waiting, sampler: Arc::new(Sampler::new()) }
    }

    /// Probes come every few seconds: in the log only where somebody debugs.
    pub(super) fn admin() -> Self {
        Self { observer: None, waiting: HeldBytes::default(), sampler: Arc::new(Sampler::new()) }
    }

    fn span(&self, begun: Begun<'_>) -> AnswerSpan {
        match &self.observer {
            Some(observer) => observer.tracer.answer(begun),
            None => Tracer::default().answer(begun),
        }
    }
}

/// What a handler notes of the answer it makes.
#[derive(Debug)]
pub(super) struct Account {
    /// The caller's own identifier, or a new one.
    pub(super) request_id: Arc<str>,
    /// What is asked of upstream for the answer belongs to this.
    pub(super) trace: Trace,
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
    missing_parts: u64,
    problem: Option<NotedProblem>,
}

/// What the log tells of a problem.
#[derive(Clone, Debug)]
struct NotedProblem {
    code: Code,
    reason: String,
    upstream_status: Option<u16>,
}

impl Account {
    /// An account for a request that comes now.
    pub(super) fn open(request_id: Arc<str>, trace: Trace) -> Self {
        Self { request_id, trace, began: Instant::now(), notes: Mutex::default() }
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

    /// How the rows were come by, and how many parts are missing.
    pub(super) fn note_verdict(&self, verdict: &Verdict) {
        self.note(|notes| notes.missing_parts = verdict.missing.len() as u64);
        self.note_report(verdict.report);
    }

    /// How the rows were come by.
    pub(super) fn note_report(&self, report: CacheReport) {
        self.note(|notes| notes.report = Some(report));
    }

    /// What was answered instead of rows, or broke them off.
    pub(super) fn note_problem(&self, problem: &Problem) {
        let noted = NotedProblem {
            code: problem.code,
            reason: problem.reason(),
            upstream_status: problem.upstream.as_ref().map(|words| words.status),
        };
        self.note(|notes| notes.problem = Some(noted));
    }
}

/// The layer.
pub(super) async fn account(State(ledger): State<Ledger>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or_else(|| super::forward::route_name(request.uri()), MatchedPath::as_str);
    let route: Arc<str> = route.into();
    let method = known(request.method());
    let caller = Trace::read(request.headers());
    let span = ledger.span(Begun { method, route: &route, caller: &caller });
    let account = Arc::new(Account::open(request_id(request.headers()), span.trace().clone()));
    let is_head = request.method() == Method::HEAD;
    request.extensions_mut().insert(Arc::clone(&account));
    // Dropped while the handler still works, it tells of a caller who left before the first byte.
    let mut told = Told {
        ledger,
        account: Arc::clone(&account),
        span,
        method,
        route,
        status: CLIENT_CLOSED_REQUEST,
        length: None,
        bytes: 0,
        ending: Ending::Left,
    };

    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => panicked(method, &told.route),
    };
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        account.note_problem(&problem);
        let body = problem.write(&account.request_id, response.headers_mut());
        *response.body_mut() = Body::from(body);
    }
    let status = response.status().as_u16();
    // Where no header says so yet, the body may know its length all the same.
    let known_length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    super::cors::one_vary(headers);
    super::cors::allow_timing(headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(&*account.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    let took = account.began.elapsed().as_secs_f64() * 1000.0;
    super::present::set(headers, SERVER_TIMING, Some(format!("answer;dur={took:.1}")));

    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()).or(known_length);
    (told.status, told.length) = (status, length);
    if is_head {
        told.ending = Ending::Whole;
    }
    response.map(|inner| Body::new(Counted::new(inner, told)))
}

/// What a caller gets whose handler panicked. The panic hook has written where.
fn panicked(method: &str, route: &str) -> Response {
    tracing::error!(method, route, "The handler of {method} {route} panicked. This is a bug in fanfold.");
    Problem::new(Code::Internal, "the request met a bug in fanfold; the log says where").into_response()
}

/// A method's name, if it is one that HTTP knows: others may be any word that a caller likes.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::DELETE => "DELETE",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

/// The caller's identifier if it is one that can stand in a log as it is, which its credential can't.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let credential = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_secret = |text: &str| credential.windows(text.len()).any(|part| part == text.as_bytes());
    let is_sane = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !(text.len() >= SHORTEST_SECRET && is_secret(text))
    };
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane) {
        Some(id) => id.into(),
        // Out of the thread's own generator: the system's would be asked once for every request.
        None => uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string().into(),
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

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

    #[test]
    fn a_credential_is_no_identifier() {
        let headers = [(header::AUTHORIZATION, "Bearer bn-secret"), (REQUEST_ID, "bn-secret")];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert!(!request_id(&headers.into_iter().collect()).contains("secret"));
    }

    /// A router with one route, whose answers are written down.
    fn router(
        route: axum::routing::MethodRouter,
    ) -> (axum::Router, Arc<Mutex<Vec<crate::telemetry::Answered>>>) {
        let seen: Arc<Mutex<Vec<crate::telemetry::Answered>>> = Arc::default();
        let into = Arc::clone(&seen);
        let observer = Observer {
            observe: Arc::new(move |answered| into.lock().unwrap().push(answered.clone())),
            tracer: Tracer::default(),
        };
        let ledger = Ledger::public(observer, HeldBytes::default());
        let layer = axum::middleware::from_fn_with_state(ledger, super::account);
        (axum::Router::new().route("/x", route).layer(layer), seen)
    }

    fn request() -> Request {
        Request::builder().uri("/x").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers_with_a_problem_document() {
        async fn bug() {
            panic!("a bug");
        }
        let (router, seen) = router(axum::routing::get(bug));
        let response = router.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["code"], "internal_error");
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].status, seen[0].code), (1, 500, Some("internal_error")));
    }

    #[tokio::test]
    async fn a_body_that_panics_is_broken_and_told_of() {
        let rows =
            futures_util::stream::once(async { Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"a")) });
        let bug = futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<_>> { panic!("a bug") });
        let body = Mutex::new(Some(Body::from_stream(futures_util::StreamExt::chain(rows, bug))));
        let body = Arc::new(body);
        let (router, seen) =
            router(axum::routing::get(move || async move { body.lock().unwrap().take().unwrap() }));
        let response = router.oneshot(request()).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].bytes, seen[0].ending), (1, 1, Ending::Broken));
    }

    #[tokio::test]
    async fn a_caller_who_leaves_before_the_first_byte_is_told_of() {
        let (router, seen) = router(axum::routing::get(std::future::pending::<()>));
        {
            let answer = router.oneshot(request());
            tokio::pin!(answer);
            assert!(futures_util::poll!(&mut answer).is_pending());
            assert!(seen.lock().unwrap().is_empty());
        }
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].status, seen[0].ending), (1, 499, Ending::Left));
        assert_eq!((&*seen[0].route, seen[0].bytes), ("/x", 0));
    }

    #[test]
    fn a_method_of_the_callers_own_making_is_not_repeated() {
        assert_eq!(known(&Method::GET), "GET");
        assert_eq!(known(&Method::from_bytes(b"BN-SECRET").unwrap()), "_OTHER");
    }
}
