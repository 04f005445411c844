//! The outermost middleware: assigns request ids, renders problems, and logs every response when it is over.
//!
//! A response is over when its body is dropped: sent completely, broken off, or abandoned by the client. The
//! log line is therefore tied to the body. Handlers add to the [`RequestLog`] what only they know.

mod counted;
mod record;
mod request_log;
mod sampler;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Body as _;

use self::counted::CountedBody;
use self::record::ResponseRecord;
use super::forward::policy;
use super::problem::{Code, Problem};
use super::{host, unread};
use crate::telemetry::{Begun, BodyEnding, Trace};

pub(super) use self::record::AccessLog;
pub(super) use self::request_log::RequestLog;

/// The status that is logged when the client leaves before there is a response, as in nginx.
const CLIENT_CLOSED_REQUEST: u16 = 499;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A shorter part of a credential does not reveal it.
const SHORTEST_SECRET: usize = 4;
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The middleware; see the module.
pub(super) async fn middleware(
    State(access_log): State<AccessLog>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or_else(|| policy::route_name(request.uri()), MatchedPath::as_str);
    let route: Arc<str> = route.into();
    let method = known(request.method());
    let caller = Trace::read(request.headers());
    let span = access_log.span(Begun { method, route: &route, caller: &caller });
    let request_log = Arc::new(RequestLog::open(request_id(request.headers()), span.trace().clone()));
    let is_head = request.method() == Method::HEAD;
    request.extensions_mut().insert(Arc::clone(&request_log));
    // If it is dropped while the handler still works, it logs a client that left before the first byte.
    let mut record = ResponseRecord {
        access_log,
        request_log: Arc::clone(&request_log),
        span,
        method,
        route,
        status: CLIENT_CLOSED_REQUEST,
        length: None,
        bytes: 0,
        ending: BodyEnding::Left,
    };

    let answer = async |request: Request| match host::one_host(request.version(), request.headers()) {
        Ok(()) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => panicked(method, &record.route),
        },
        Err(problem) => problem.into_response(),
    };
    let mut response = unread::read_on(request, answer).await;
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        request_log.note_problem(&problem);
        let body = problem.write(&request_log.request_id, response.headers_mut());
        *response.body_mut() = Body::from(body);
    }
    let status = response.status().as_u16();
    // Without a header, the body may still know its length.
    let known_length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    super::cors::one_vary(headers);
    super::cors::allow_timing(headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(&*request_log.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    let took = request_log.began.elapsed().as_secs_f64() * 1000.0;
    super::present::set(headers, SERVER_TIMING, Some(format!("answer;dur={took:.1}")));

    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()).or(known_length);
    (record.status, record.length) = (status, length);
    if is_head {
        record.ending = BodyEnding::Whole;
    }
    response.map(|inner| Body::new(CountedBody::new(inner, record)))
}

/// The response after a panic in a handler. The panic hook has logged its location.
fn panicked(method: &str, route: &str) -> Response {
    tracing::error!(target: "fanfold::response", method, route, "The handler of {method} {route} panicked. This is a bug in fanfold.");
    Problem::new(Code::Internal, "the request hit a bug in fanfold; its log says where").into_response()
}

/// The name of a method that HTTP defines. Others are not repeated, because a client can send any word.
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

/// The caller's request id, if it is safe to log and not part of its credential; otherwise a new one.
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
        // Drawn from the thread's generator; the system's would need a call per request.
        None => uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::http::Observer;
    use crate::telemetry::{HeldBytes, Tracer};

    #[test]
    fn keeps_the_callers_request_id_if_it_is_safe_to_log() {
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
    fn never_uses_a_credential_as_request_id() {
        let headers = [(header::AUTHORIZATION, "Bearer bn-secret"), (REQUEST_ID, "bn-secret")];
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert!(!request_id(&headers.into_iter().collect()).contains("secret"));
    }

    /// A router with one route, and the responses that its observer saw.
    fn router(
        route: axum::routing::MethodRouter,
    ) -> (axum::Router, Arc<Mutex<Vec<crate::telemetry::Answered>>>) {
        let seen: Arc<Mutex<Vec<crate::telemetry::Answered>>> = Arc::default();
        let into = Arc::clone(&seen);
        let observer = Observer {
            observe: Arc::new(move |answered| into.lock().unwrap().push(answered.clone())),
            tracer: Tracer::default(),
        };
        let access_log = AccessLog::public(observer, HeldBytes::default());
        let layer = axum::middleware::from_fn_with_state(access_log, super::middleware);
        (axum::Router::new().route("/x", route).layer(layer), seen)
    }

    fn request() -> Request {
        Request::builder().uri("/x").header(header::HOST, "localhost").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_in_a_handler_returns_a_problem_document() {
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
    async fn a_panic_in_a_body_breaks_it_and_is_logged() {
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
        assert_eq!((seen.len(), seen[0].bytes, seen[0].ending), (1, 1, BodyEnding::Broken));
    }

    #[tokio::test]
    async fn logs_a_caller_that_leaves_before_the_first_byte() {
        let (router, seen) = router(axum::routing::get(std::future::pending::<()>));
        {
            let answer = router.oneshot(request());
            tokio::pin!(answer);
            assert!(futures_util::poll!(&mut answer).is_pending());
            assert!(seen.lock().unwrap().is_empty());
        }
        let seen = seen.lock().unwrap();
        assert_eq!((seen.len(), seen[0].status, seen[0].ending), (1, 499, BodyEnding::Left));
        assert_eq!((&*seen[0].route, seen[0].bytes), ("/x", 0));
    }

    #[test]
    fn never_repeats_an_unknown_method() {
        assert_eq!(known(&Method::GET), "GET");
        assert_eq!(known(&Method::from_bytes(b"BN-SECRET").unwrap()), "_OTHER");
    }
}
