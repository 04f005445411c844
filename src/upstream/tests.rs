use std::future::Future;
use std::io::Write as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::domain::{Caller, CallerId, CredentialId, Filters, PeerGroup, Rounding, Span, Timestamp};
use crate::source::{Trace, Urgency};
use crate::telemetry::BreakerState;
use crate::upstream::stats::RequestOutcome;

use super::*;

mod connections;
mod keys;
mod mismatches;

const PAGE: &str =
    "{\"data\":[{\"id\":\"a\", \"cost\":12.710,\"n\":9007199254740993}],\"total\":1,\"has_more\":false}";

/// A fake upstream, stopped when dropped.
struct Fake {
    upstream: Arc<Upstream>,
    _tasks: JoinSet<()>,
}

fn upstream(base: &str) -> Arc<Upstream> {
    let settings = UpstreamSettings {
        base_url: BaseUrl::parse(base, PlainHttp::LoopbackOnly).unwrap(),
        ca_pem: None,
        attempt_timeout: Duration::from_secs(10),
        rate: Some(Rate { count: NonZeroU32::new(1000).unwrap(), per: Duration::from_secs(60) }),
        rate_scope: RateScope::Shared,
        concurrency: NonZeroUsize::new(32).unwrap(),
        refresh_reserve: Fraction::percent(20).unwrap(),
        dates: DateParams::Sent,
    };
    Upstream::new(settings, RequestWatch::default(), SteadyClock::from_wall(), None).unwrap()
}

async fn fake<F, R>(answer: F) -> Fake
where
    F: Fn(usize, Request) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let count = Arc::new(AtomicUsize::new(0));
    let app =
        Router::new().fallback(move |request: Request| answer(count.fetch_add(1, Ordering::SeqCst), request));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&format!("http://{}/base/", listener.local_addr().unwrap()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = hyper_serve(listener, app).await;
    });
    Fake { upstream, _tasks: tasks }
}

/// Serves HTTP/1.1 until dropped.
async fn hyper_serve(listener: TcpListener, app: Router) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        let service = hyper_util::service::TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(socket), service)
                .await;
        });
    }
}

/// Responds to every connection with these bytes, and closes it.
async fn raw(answers: &'static [&'static [u8]]) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&format!("http://{}", listener.local_addr().unwrap()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for answer in answers {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(byte) => seen.push(byte),
                    Err(_) => return,
                }
            }
            let _ = socket.write_all(answer).await;
        }
    });
    Fake { upstream, _tasks: tasks }
}

fn credential() -> Credential {
    Credential::new(CredentialId::new([7; 16]), SecretString::from("bn-secret"))
}

fn agent() -> AgentId {
    AgentId::new(Uuid::from_u128(5))
}

fn context(retry_for: Duration) -> RequestContext {
    RequestContext {
        caller: Caller { id: CallerId::Token([1; 16]), peer: PeerGroup::Unknown },
        retry_for,
        trace: Trace { parent: Some("00-aa-bb-01".into()), state: Some("k=v".into()) },
        ..RequestContext::for_test(Urgency::Cold)
    }
}

#[tokio::test]
async fn marks_a_request_as_sent_only_when_it_is_sent() {
    let fake = fake(|_, _| async { "{}".into_response() }).await;
    let context = context(NEVER);
    assert_eq!(context.sent.sent_at(), None);
    let began = Instant::now();
    let _answered = fake.upstream.agent(&credential(), agent(), &context).await;
    assert!(context.sent.sent_at().is_some_and(|at| at >= began));
}

const RETRY: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::ZERO;

impl Fake {
    /// The number of requests with this outcome.
    fn requests(&self, outcome: RequestOutcome) -> u64 {
        self.upstream.readings().requests[outcome as usize].1
    }

    async fn page(&self, retry_for: Duration) -> Result<Page, SourceError> {
        self.numbered(1, retry_for).await
    }

    async fn numbered(&self, number: u32, retry_for: Duration) -> Result<Page, SourceError> {
        let at = |text| Timestamp::parse(text, Rounding::Down).unwrap();
        let span = Span::new(at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z")).unwrap();
        let subject = Subject { credential: credential(), agent: agent(), filters: Filters::default() };
        self.upstream.page(&subject, PageOf { span, number, size: 50 }, &context(retry_for)).await
    }
}

fn gzip(bytes: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    bytes.for_each(|b| encoder.write_all(&b).unwrap());
    encoder.finish().unwrap()
}

fn gzipped(body: Vec<u8>) -> Response {
    ([("content-type", "application/json"), ("content-encoding", "gzip")], body).into_response()
}

#[tokio::test]
async fn sends_only_the_question() {
    let fake = fake(async |_, request: Request| {
        let mut names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(
            names,
            ["accept", "accept-encoding", "authorization", "host", "traceparent", "tracestate", "user-agent"]
        );
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("authorization"), "Bearer bn-secret");
        assert_eq!(header("accept-encoding"), "gzip");
        assert_eq!(header("traceparent"), "00-aa-bb-01");
        assert_eq!(header("tracestate"), "k=v");
        assert!(header("user-agent").starts_with("fanfold/"));
        assert_eq!(
            request.uri().to_string(),
            "/base/v2/agent/00000000-0000-0000-0000-000000000005/executions\
             ?from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-02T00%3A00%3A00.000Z&page_number=1&page_size=50"
        );
        PAGE.into_response()
    })
    .await;
    let page = fake.page(NEVER).await.unwrap();
    assert_eq!(&page.rows[0].bytes[..], br#"{"id":"a", "cost":12.710,"n":9007199254740993}"#);
    assert_eq!(fake.requests(RequestOutcome::Ok), 1);
    assert_eq!(fake.upstream.readings().gate.in_flight, 0);
}

#[tokio::test]
async fn relays_a_body_byte_for_byte_whether_or_not_it_is_a_page() {
    const ODD: &str = "{ \"odd\" :  12.710 }\n";
    let fake = fake(async |n, request: Request| {
        assert_eq!(request.uri().query(), Some("page_number=2&x=%2B+a&x=&%41"));
        if n == 0 { gzipped(gzip([PAGE.into()].into_iter())) } else { ODD.into_response() }
    })
    .await;
    let relay = async || {
        fake.upstream
            .relay(&credential(), agent(), "page_number=2&x=%2B+a&x=&%41", &context(NEVER))
            .await
            .unwrap()
    };
    let page = relay().await;
    assert_eq!((&page.body[..], page.page.unwrap().rows.len()), (PAGE.as_bytes(), 1));
    let odd = relay().await;
    assert_eq!(&odd.body[..], ODD.as_bytes());
    assert!(odd.page.is_none());
}

#[tokio::test]
async fn reads_a_large_page() {
    let fake = fake(async |_, _| {
        let rows: Vec<_> =
            (0..50).map(|i| format!("{{\"id\":\"{i}\",\"t\":\"{}\"}}", "x".repeat(20_000))).collect();
        format!("{{\"data\":[{}]}}", rows.join(",")).into_response()
    })
    .await;
    let page = fake.page(NEVER).await.unwrap();
    assert_eq!((page.rows.len(), page.has_more), (50, true));
}

#[tokio::test]
async fn reads_when_an_agent_was_created() {
    let fake = fake(async |_, request: Request| {
        assert_eq!(request.uri().path(), "/base/v2/agent/00000000-0000-0000-0000-000000000005");
        "{\"created_at\":\"2025-01-01T00:00:00\"}".into_response()
    })
    .await;
    let facts = fake.upstream.agent(&credential(), agent(), &context(NEVER)).await.unwrap();
    assert_eq!(facts.created_at.unwrap().to_string(), "2025-01-01T00:00:00.000000Z");
}

#[tokio::test]
async fn reports_refusals_with_upstreams_message_and_never_retries_them() {
    let fake =
        fake(async |_, _| (StatusCode::FORBIDDEN, "{\"detail\":\"no bn-secret\"}").into_response()).await;
    let error = fake.page(RETRY).await.unwrap_err();
    assert!(matches!(&error, SourceError::Denied(w) if w.status == 403 && w.message == "no …"), "{error:?}");
    assert_eq!(fake.requests(RequestOutcome::Denied), 1);
}

#[tokio::test]
async fn never_follows_a_redirect() {
    let fake = fake(async |_, request: Request| {
        assert_ne!(request.uri().path(), "/elsewhere");
        (StatusCode::FOUND, [("location", "/elsewhere")]).into_response()
    })
    .await;
    assert!(matches!(fake.page(NEVER).await, Err(SourceError::Unavailable { .. })));
    assert_eq!(fake.requests(RequestOutcome::Refused), 1);
}

#[tokio::test]
async fn retries_a_redirect_once() {
    let fake = fake(async |n, _| match n {
        0 => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        _ => PAGE.into_response(),
    })
    .await;
    assert_eq!(fake.page(RETRY).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn reads_two_large_bodies_at_a_time() {
    let large = Bytes::from(format!("{{\"data\":[],\"x\":\"{}\"}}", "x".repeat(6 << 20)));
    let fake = fake(move |_, _| std::future::ready(large.clone().into_response())).await;
    let fake = Arc::new(fake);
    let mut pages = JoinSet::new();
    for _ in 0..6 {
        let fake = Arc::clone(&fake);
        pages.spawn(async move { fake.page(NEVER).await.is_ok() });
    }
    assert_eq!(pages.join_all().await, [true; 6]);
}

#[tokio::test]
async fn a_429_is_followed_by_another_attempt() {
    let fake = fake(async |n, _| match n {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        _ => PAGE.into_response(),
    })
    .await;
    assert_eq!(fake.page(RETRY).await.unwrap().rows.len(), 1);
    assert_eq!(fake.upstream.readings().retries, 1);
    let gate = fake.upstream.readings().gate;
    assert_eq!((gate.slowed_agents, gate.rate_share), (1, 1.0), "only the agent");
}

#[tokio::test]
async fn reports_a_429_that_outlasts_the_deadline_with_its_message() {
    let fake = fake(async |_, _| {
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "90")], "{\"message\":\"slow down\"}")
            .into_response()
    })
    .await;
    let mut context = context(RETRY);
    context.budget_wait = Some(Duration::from_secs(2));
    let error = fake.upstream.agent(&credential(), agent(), &context).await.unwrap_err();
    let SourceError::RateLimited { retry_after, upstream } = error else { panic!("{error:?}") };
    assert_eq!(upstream.unwrap().message, "slow down");
    // A limit per minute never asks for more than a minute.
    assert!(retry_after > Duration::from_secs(50) && retry_after <= Duration::from_secs(61));
}

#[tokio::test]
async fn retries_a_500_only_within_the_time_for_retries() {
    let fake = fake(async |n, _| match n {
        0 | 1 => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        _ => PAGE.into_response(),
    })
    .await;
    assert!(matches!(fake.page(NEVER).await, Err(SourceError::Unavailable { upstream: Some(_), .. })));
    assert!(fake.page(RETRY).await.is_ok());
}

#[tokio::test]
async fn reports_upstreams_message_even_if_the_breaker_refused_last() {
    let fake = fake(async |_, _| {
        (StatusCode::INTERNAL_SERVER_ERROR, "{\"message\":\"database down\"}").into_response()
    })
    .await;
    // One failure short of opening the breaker for a single agent, so that the next attempt opens it.
    for _ in 0..19 {
        assert!(fake.page(NEVER).await.is_err());
    }
    let error = fake.page(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(fake.upstream.readings().gate.breaker, BreakerState::Closed, "for others");
    let SourceError::Unavailable { upstream, .. } = &error else { panic!("{error:?}") };
    assert_eq!(upstream.as_ref().unwrap().message, "database down");
    assert!(error.to_string().contains("failed too often"), "{error}");
}

#[tokio::test]
async fn requests_a_malformed_page_twice() {
    let fake = fake(async |_, _| "<html>".into_response()).await;
    assert!(matches!(fake.page(RETRY).await, Err(SourceError::Malformed { .. })));
    assert_eq!(fake.upstream.readings().malformed, 2);
}

#[tokio::test]
async fn stops_a_body_that_decompresses_without_end() {
    let bomb = gzip((0..200).map(|_| vec![b' '; 1 << 20]));
    let fake = fake(move |_, _| std::future::ready(gzipped(bomb.clone()))).await;
    let error = fake.page(RETRY).await.unwrap_err();
    assert!(matches!(&error, SourceError::Malformed { detail } if detail.contains("larger")), "{error:?}");
    assert_eq!(fake.upstream.readings().body_bytes, 0);
}

#[tokio::test]
async fn a_truncated_gzip_body_is_never_a_page() {
    let mut cut = gzip([PAGE.into()].into_iter());
    cut.truncate(cut.len() - 12);
    let fake = fake(move |_, _| std::future::ready(gzipped(cut.clone()))).await;
    assert!(matches!(fake.page(NEVER).await, Err(SourceError::Unavailable { .. })));
}

#[tokio::test]
async fn never_waits_for_a_response_past_the_deadline() {
    let fake = fake(async |_, _| {
        std::future::pending::<()>().await;
        Body::empty().into_response()
    })
    .await;
    let mut context = context(RETRY);
    context.deadline = Some(Deadline::at(Instant::now() + Duration::from_secs(1)));
    let error = fake.upstream.agent(&credential(), agent(), &context).await.unwrap_err();
    assert!(matches!(error, SourceError::TimedOut));
    assert_eq!(fake.requests(RequestOutcome::Abandoned), 1);
    assert_eq!(fake.upstream.readings().gate.rate_share, 1.0);
}

#[tokio::test]
async fn learns_upstreams_clock_from_its_responses() {
    let fake = fake(async |_, _| {
        let mut headers = HeaderMap::new();
        let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&ahead).unwrap();
        headers.insert("date", date.parse().unwrap());
        (headers, PAGE).into_response()
    })
    .await;
    assert_eq!(fake.upstream.clock_ahead_micros(), 0);
    fake.page(NEVER).await.unwrap();
    let ahead = fake.upstream.clock_ahead_micros();
    assert!((98_000_000..102_000_000).contains(&ahead), "{ahead}");
}
