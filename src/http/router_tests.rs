#[path = "router_answer_tests.rs"]
mod answers;

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, Version, header};
use axum::response::Response;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::http::auth::Authenticator;
use crate::http::testing::{BAD_KEY, RELAYED, ROWS, engine};
use crate::http::{HttpSettings, Observer};
use crate::shutdown::Shutdown;
use crate::telemetry::{Answered, BodyEnding, Pulse, Tracer};

const AGENT: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

fn app_until(shutdown: Shutdown) -> Router {
    let settings = HttpSettings {
        max_json_bytes: 1 << 20,
        request_deadline: Duration::from_secs(50),
        max_questions: 1,
        cors_origins: Vec::new(),
    };
    public(Arc::new(App::new(
        engine(&shutdown),
        Authenticator::pass_through(),
        settings,
        shutdown,
        observer(|_| {}),
    )))
}

fn app(
    max_questions: usize,
    origins: &[&'static str],
    observe: impl Fn(&Answered) + Send + Sync + 'static,
) -> Router {
    let settings = HttpSettings {
        max_json_bytes: 1 << 20,
        request_deadline: Duration::from_secs(50),
        max_questions,
        cors_origins: origins.iter().map(|o| http::HeaderValue::from_static(o)).collect(),
    };
    let shutdown = Shutdown::default();
    public(Arc::new(App::new(
        engine(&shutdown),
        Authenticator::pass_through(),
        settings,
        shutdown,
        observer(observe),
    )))
}

fn observer(observe: impl Fn(&Answered) + Send + Sync + 'static) -> Observer {
    Observer { observe: Arc::new(observe), tracer: Tracer::default() }
}

fn quiet() -> Router {
    app(1, &[], |_| {})
}

fn request(method: Method, path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header(header::HOST, "test");
    headers.iter().fold(builder, |b, (name, value)| b.header(*name, *value)).body(Body::empty()).unwrap()
}

/// Asks with a key for a path under the agent's own.
async fn get(router: Router, path: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut all = vec![("authorization", "Bearer bn-1")];
    all.extend_from_slice(headers);
    router.oneshot(request(Method::GET, path, &all)).await.unwrap()
}

async fn body(response: Response) -> serde_json::Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn all(query: &str) -> String {
    format!("/agents/{AGENT}/executions/all{query}")
}

#[tokio::test]
async fn paths_match_exactly_or_not_at_all() {
    for path in [
        "/",
        "/agents",
        &all("/"),
        &all("/more"),
        &format!("/agents/{AGENT}/executions"),
        "/docs/",
        "/agents//executions/all",
    ] {
        let response = get(quiet(), path, &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body(response).await["code"], "not_found");
    }
}

#[tokio::test]
async fn an_unsupported_method_gets_the_allowed_ones() {
    for path in [&all(""), "/docs", "/openapi.yaml"] {
        let response = quiet().oneshot(request(Method::POST, path, &[])).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = response.headers()[header::ALLOW].to_str().unwrap().to_owned();
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
        assert_eq!(body(response).await["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn a_request_must_name_exactly_one_host() {
    let twice = get(quiet(), "/openapi.yaml", &[("host", "another")]).await;
    assert_eq!(twice.status(), StatusCode::BAD_REQUEST);
    assert_eq!(body(twice).await["code"], "invalid_request");
    // HTTP/2 names it elsewhere, and HTTP/1.0 not at all.
    for (version, status) in [(Version::HTTP_11, 400), (Version::HTTP_10, 200), (Version::HTTP_2, 200)] {
        let request = Request::builder().uri("/openapi.yaml").version(version).body(Body::empty()).unwrap();
        assert_eq!(quiet().oneshot(request).await.unwrap().status(), status, "{version:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_credential_learns_nothing_else() {
    for path in [&all("?nonsense=1"), "/agents/nonsense/executions/all", "/v2/agent/nonsense/executions"] {
        let response = quiet().oneshot(request(Method::GET, path, &[])).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(body(response).await["code"], "unauthenticated");
    }
}

#[tokio::test]
async fn a_bad_request_gets_the_reason() {
    for (path, word) in [
        (all("?page_size=50"), "`page_size`"),
        (all("?from=%"), "`from`"),
        ("/agents/nonsense/executions/all".to_owned(), "`agents`"),
        ("/agents/%ff/executions/all".to_owned(), "`agents`"),
        (format!("/v2/agent/{AGENT}/executions?page_number=0"), "`page_number`"),
    ] {
        let response = get(quiet(), &path, &[]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem = body(response).await;
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        assert_eq!(problem["code"], "invalid_request");
    }
}

#[tokio::test]
async fn a_lenient_stream_requires_an_end_record() {
    let lenient = [("prefer", "handling=lenient")];
    let response = get(quiet(), &all("?format=ndjson"), &lenient).await;
    assert!(body(response).await["detail"].as_str().unwrap().contains("`end_record`"));
    // With it, or as one document, the question gets as far as the engine.
    for query in ["?format=ndjson&end_record=true", "?format=json"] {
        assert_ne!(get(quiet(), &all(query), &lenient).await.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn refuses_a_request_without_an_acceptable_format() {
    for headers in [[("accept", "text/html")], [("accept-encoding", "identity;q=0")]] {
        let response = get(quiet(), &all(""), &headers).await;
        assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
        assert_eq!(body(response).await["code"], "not_acceptable");
    }
}

#[tokio::test]
async fn refuses_requests_above_the_limit_with_a_retry_after() {
    let response = get(app(0, &[], |_| {}), &all(""), &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(body(response).await["code"], "overloaded");
}

#[tokio::test]
async fn every_response_has_a_request_id_and_problems_repeat_it() {
    let response = get(quiet(), "/nowhere", &[("x-request-id", "job-7")]).await;
    assert_eq!(response.headers()["x-request-id"], "job-7");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(response.headers()["server-timing"].to_str().unwrap().starts_with("answer;dur="));
    assert_eq!(body(response).await["request_id"], "job-7");
}

#[tokio::test]
async fn reports_a_response_once_when_its_body_is_over() {
    let told = Arc::new(Mutex::new(Vec::<Answered>::new()));
    let into = Arc::clone(&told);
    let router = app(1, &[], move |answered| into.lock().unwrap().push(answered.clone()));
    let response = get(router.clone(), &all("?x=1"), &[]).await;
    assert!(told.lock().unwrap().is_empty());
    let length = response.into_body().collect().await.unwrap().to_bytes().len();
    drop(get(router, "/openapi.yaml", &[]).await);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(&*told[0].route, "/agents/{agents}/executions/all");
    assert_eq!((told[0].status, told[0].bytes, told[0].ending), (400, length as u64, BodyEnding::Whole));
    assert_eq!(told[0].code, Some("invalid_request"));
    assert_eq!((told[1].bytes, told[1].ending), (0, BodyEnding::Left));
}

#[tokio::test]
async fn scripts_of_an_allowed_origin_may_send_and_read() {
    let router = app(1, &["https://desk.example"], |_| {});
    let preflight = [
        ("origin", "https://desk.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let response = router.clone().oneshot(request(Method::OPTIONS, &all(""), &preflight)).await.unwrap();
    let text = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    assert!(response.status().is_success());
    assert_eq!(text(response.headers(), "access-control-allow-origin"), "https://desk.example");
    assert_eq!(text(response.headers(), "access-control-max-age"), "7200");
    for name in ["authorization", "content-type", "x-requested-with", "if-none-match", "prefer"] {
        assert!(text(response.headers(), "access-control-allow-headers").contains(name), "{name}");
    }

    let response = get(router.clone(), &all("?x=1"), &preflight[..1]).await;
    assert_eq!(text(response.headers(), "access-control-allow-origin"), "https://desk.example");
    for name in ["etag", "x-total-count", "content-disposition", "server-timing", "retry-after"] {
        assert!(text(response.headers(), "access-control-expose-headers").contains(name), "{name}");
    }
    assert_eq!(text(response.headers(), "timing-allow-origin"), "https://desk.example");
    let vary: Vec<_> = response.headers().get_all(header::VARY).iter().collect();
    assert!(vary.len() == 1 && vary[0].to_str().unwrap().ends_with("origin"), "{vary:?}");

    let response = get(router, &all("?x=1"), &[("origin", "https://other.example")]).await;
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    assert!(!response.headers().contains_key("timing-allow-origin"));
}

#[tokio::test]
async fn without_origins_a_preflight_is_an_unsupported_method() {
    let response = quiet().oneshot(request(Method::OPTIONS, &all(""), &[])).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_docs_page_loads_nothing_from_outside() {
    let response = get(quiet(), "/docs", &[]).await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = response.into_body().collect().await.unwrap().to_bytes();
    let page = std::str::from_utf8(&page).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"));
    assert!(page.contains(docs::SCRIPT_PATH));
}

#[tokio::test]
async fn the_docs_script_is_sent_in_either_coding() {
    use std::io::Read;
    let packed = get(quiet(), docs::SCRIPT_PATH, &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    let packed = packed.into_body().collect().await.unwrap().to_bytes();
    let plain = get(quiet(), docs::SCRIPT_PATH, &[]).await;
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(plain.into_body().collect().await.unwrap().to_bytes(), unpacked);
}

fn admin_app(shutdown: &Shutdown) -> Router {
    admin(Arc::new(AdminApp {
        pulse: Pulse::default(),
        forwarded: None,
        engine: engine(shutdown),
        shutdown: shutdown.clone(),
        render_metrics: Arc::new(|exposition| format!("{exposition:?}\n")),
    }))
}

#[tokio::test]
async fn ready_until_the_drain_and_alive_during_it() {
    let shutdown = Shutdown::default();
    let status = async |path| get(admin_app(&shutdown), path, &[]).await.status();
    assert_eq!(status("/readyz").await, StatusCode::OK);
    shutdown.drain();
    assert_eq!(status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/livez").await, StatusCode::OK);
}

#[tokio::test]
async fn an_engine_without_progress_fails_liveness() {
    let pulse = Pulse::default();
    pulse.set_stalled(true);
    let app = AdminApp {
        forwarded: None,
        pulse,
        engine: engine(&Shutdown::default()),
        shutdown: Shutdown::default(),
        render_metrics: Arc::new(|_| String::new()),
    };
    let router = admin(Arc::new(app));
    let status = async |path| get(router.clone(), path, &[]).await.status();
    assert_eq!(status("/livez").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/readyz").await, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_served_in_the_negotiated_format() {
    for (accept, media_type, form) in [
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "OpenMetrics\n",
        ),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "Text\n"),
    ] {
        let response = get(admin_app(&Shutdown::default()), "/metrics", &[("accept", accept)]).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], media_type);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), form);
    }
}

#[tokio::test]
async fn purges_an_agent_by_its_id_only() {
    let delete = async |path: &str| {
        let router = admin_app(&Shutdown::default());
        router.oneshot(request(Method::DELETE, path, &[])).await.unwrap().status()
    };
    assert_eq!(delete(&format!("/agents/{AGENT}")).await, StatusCode::NO_CONTENT);
    assert_eq!(delete("/agents/nonsense").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn head_has_the_length_of_what_get_would_send() {
    for path in ["/openapi.yaml", "/nowhere", &all("?x=1")] {
        let head = [("authorization", "Bearer bn-1"), ("x-request-id", "a")];
        let head = quiet().oneshot(request(Method::HEAD, path, &head)).await.unwrap();
        let length: usize = head.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        let body = get(quiet(), path, &[("x-request-id", "a")]).await.into_body().collect().await.unwrap();
        assert_eq!(length, body.to_bytes().len(), "{path}");
    }
}

#[tokio::test]
async fn a_caller_that_waits_at_the_end_of_a_drain_gets_shutting_down() {
    let shutdown = Shutdown::default();
    shutdown.end();
    for path in [&all(""), &format!("/v2/agent/{AGENT}/executions?from=x&to=y")] {
        let response = get(app_until(shutdown.clone()), path, &[]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(body(response).await["code"], "shutting_down");
    }
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn logs_one_line_per_response_without_secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let path = all("?from=bn-1&status=secret");
    let ask =
        async || drop(get(quiet(), &path, &[("x-request-id", "job-7")]).await.into_body().collect().await);
    // `tracing` caches for each callsite whether a subscriber wants it. Another test that reaches this
    // callsite while the log is being set up could make `tracing` cache that none does.
    ask().await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().unwrap().clear();
    ask().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in
        ["GET /agents/{agents}/executions/all answered 400", AGENT, "job-7", "invalid_request", "`from`"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("bn-1") && !text.contains("secret"), "{text}");
}
