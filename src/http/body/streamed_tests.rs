use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt;

use super::*;
use crate::domain::{AgentId, Caller, Credential, CredentialId, Digest, Filters, Span, Timestamp};
use crate::encode::whole_slice;
use crate::engine::{
    CacheDirectives, CacheReport, Freshness, Missing, Question, ResponseMode, RowNeed, Tolerance,
};
use crate::http::places::{CallerStanding, Places};
use crate::http::problem::{Code, ErrorStyle, KeyOwner};
use crate::server::{ServerLimits, serve};
use crate::telemetry::{ConnectionCounts, Trace};

const RENDERER: ErrorRenderer = ErrorRenderer { style: ErrorStyle::Own, key: KeyOwner::Callers };

fn verdict(count: u64) -> Verdict {
    Verdict {
        as_of: Timestamp::from_micros(0),
        count,
        total: Some(count),
        digest: Digest(0),
        missing: Vec::new(),
        freshness: Freshness::default(),
        report: CacheReport::default(),
    }
}

fn place(places: &Arc<Places>) -> ResponsePlace {
    places.take(Caller::of_key(CredentialId::new([1; 16])), CallerStanding::Known).unwrap()
}

fn streamed(coding: Coding, end_record: EndRecord, places: &Arc<Places>) -> Streamed {
    Streamed {
        coding,
        end_record,
        renderer: RENDERER,
        request_log: Arc::new(RequestLog::open("r-1".into(), Trace::default())),
        compression_pool: CompressionPool::new(NonZeroUsize::MIN),
        place: place(places),
    }
}

fn body(coding: Coding, end_record: EndRecord, events: Vec<Event>) -> Body {
    let places = Arc::new(Places::new(1));
    streamed(coding, end_record, &places).body(stream::iter(events))
}

/// What a reader receives until the end, and whether the body broke.
async fn read(mut body: Body) -> (Vec<u8>, Result<(), axum::Error>) {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => out.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => return (out, Err(error)),
        }
    }
    (out, Ok(()))
}

fn two_pages(last: Event) -> Vec<Event> {
    vec![
        Event::Rows(whole_slice(&["{\"a\":1}", "{\"a\":2}"])),
        Event::Rows(whole_slice(&["{\"a\":3}"])),
        last,
    ]
}

const ROWS: &str = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";

#[tokio::test]
async fn the_body_has_only_rows_by_default() {
    let (text, end) =
        read(body(Coding::Identity, EndRecord::Absent, two_pages(Event::Reached(verdict(3))))).await;
    assert_eq!(String::from_utf8(text).unwrap(), ROWS);
    assert!(end.is_ok());
}

#[tokio::test]
async fn the_end_record_is_the_last_line() {
    let (text, end) =
        read(body(Coding::Identity, EndRecord::Wanted, two_pages(Event::Reached(verdict(3))))).await;
    let last = "{\"@end\":{\"complete\":true,\"count\":3,\"as_of\":\"1970-01-01T00:00:00.000000Z\"}}\n";
    assert_eq!(String::from_utf8(text).unwrap(), format!("{ROWS}{last}"));
    assert!(end.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_sends_ready_rows_then_the_reason_then_breaks() {
    for coding in [Coding::Identity, Coding::Gzip] {
        let failed = Event::Broken(verdict(3), AskError::ShuttingDown);
        let (wire, end) = read(body(coding, EndRecord::Wanted, two_pages(failed))).await;
        assert!(end.is_err());
        let mut text = String::new();
        match coding {
            Coding::Identity => text = String::from_utf8(wire).unwrap(),
            Coding::Gzip => {
                // All bytes sent can be inflated, and then the member turns out to be truncated.
                let cut = flate2::read::GzDecoder::new(&wire[..]).read_to_string(&mut text);
                assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            }
        }
        let last = text.strip_prefix(ROWS).unwrap();
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(last["@end"]["complete"], false);
        assert_eq!(last["@end"]["error"]["code"], "shutting_down");
        assert_eq!(last["@end"]["error"]["request_id"], "r-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_response_counts_only_the_rows_sent() {
    let failed = Event::Broken(verdict(8000), AskError::ShuttingDown);
    let (text, _) = read(body(Coding::Identity, EndRecord::Wanted, two_pages(failed))).await;
    let text = String::from_utf8(text).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["@end"]["count"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_an_end_record_breaks_the_body() {
    let failed = Event::Broken(verdict(3), AskError::ShuttingDown);
    let (text, end) = read(body(Coding::Identity, EndRecord::Absent, two_pages(failed))).await;
    assert_eq!(String::from_utf8(text).unwrap(), ROWS);
    assert!(end.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_verdict_never_looks_complete() {
    let events = vec![Event::Rows(whole_slice(&["{}"]))];
    assert!(read(body(Coding::Identity, EndRecord::Wanted, events)).await.1.is_err());
}

#[tokio::test]
async fn a_lenient_response_lists_what_is_missing() {
    let mut verdict = verdict(3);
    let span = Span::at(Timestamp::from_micros(0));
    verdict.missing.push(Missing { span, error: AskError::NotCached });
    let (text, end) =
        read(body(Coding::Identity, EndRecord::Wanted, two_pages(Event::Reached(verdict)))).await;
    let text = String::from_utf8(text).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["@end"]["complete"], false);
    assert_eq!(last["@end"]["missing"][0]["code"], "not_cached");
    assert_eq!(last["@end"]["missing"][0]["from"], "1970-01-01T00:00:00.000000Z");
    assert!(last["@end"].get("error").is_none() && end.is_ok());
}

#[tokio::test]
async fn gzip_is_one_complete_member() {
    let events = two_pages(Event::Reached(verdict(3)));
    let (wire, _) = read(body(Coding::Gzip, EndRecord::Absent, events)).await;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&wire[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, ROWS);
}

#[tokio::test(start_paused = true)]
async fn sends_blank_lines_in_silence_only_with_an_end_record() {
    let late = || {
        stream::once(async {
            sleep(Duration::from_secs(40)).await;
            Event::Reached(verdict(0))
        })
    };
    let places = Arc::new(Places::new(2));
    let (text, _) = read(streamed(Coding::Identity, EndRecord::Wanted, &places).body(late())).await;
    assert!(text.starts_with(b"\n\n{\"@end\""), "{}", String::from_utf8_lossy(&text));
    let (text, _) = read(streamed(Coding::Identity, EndRecord::Absent, &places).body(late())).await;
    assert_eq!(text, b"");
}

#[tokio::test]
async fn reads_on_demand_and_releases_the_place_when_dropped() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let row = format!("\"{}\"", "x".repeat(CHUNK));
    let endless = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Event::Rows(whole_slice(&[&row]))
    });
    let places = Arc::new(Places::new(1));
    let mut body = streamed(Coding::Identity, EndRecord::Absent, &places).body(endless);
    for taken in 1..4 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), taken);
    }
    assert_eq!(places.taken(), 1);
    drop(body);
    assert_eq!(places.taken(), 0);
}

#[tokio::test]
async fn small_ready_pieces_are_sent_together() {
    let row = format!("\"{}\"", "x".repeat(CHUNK / 10));
    let events = || {
        let pages = (0..20).map(|_| Event::Rows(whole_slice(&[&row])));
        pages.chain([Event::Reached(verdict(20))]).collect()
    };
    for coding in [Coding::Identity, Coding::Gzip] {
        let mut body = body(coding, EndRecord::Absent, events());
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            frame.unwrap();
            frames += 1;
        }
        assert!(frames <= 4, "{coding:?}: {frames}");
    }
}

/// Serves a body to a client of HTTP/1.1 or HTTP/2. Returns what it reads, and whether it sees a break.
async fn over_a_socket(version: http::Version, events: fn() -> Vec<Event>) -> (String, bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let respond = move || async move { body(Coding::Identity, EndRecord::Wanted, events()) };
    let router = axum::Router::new().route("/", axum::routing::get(respond));
    let (limits, shutdown) = (ServerLimits::public(Duration::from_secs(60), None), Shutdown::default());
    shutdown.spawn(serve(listener, router, limits, ConnectionCounts::default(), shutdown.clone()));
    let client = reqwest::Client::builder().no_proxy();
    let client = if version == http::Version::HTTP_2 { client.http2_prior_knowledge() } else { client };
    let mut response = client.build().unwrap().get(format!("http://{address}/")).send().await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (version, 200));
    let mut read = Vec::new();
    let is_broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    (String::from_utf8(read).unwrap(), is_broken)
}

const VERSIONS: [http::Version; 2] = [http::Version::HTTP_11, http::Version::HTTP_2];

#[tokio::test]
async fn a_complete_body_reaches_a_client_without_a_break() {
    for version in VERSIONS {
        let (text, is_broken) = over_a_socket(version, || two_pages(Event::Reached(verdict(3)))).await;
        assert!(text.starts_with(ROWS) && text.contains("\"complete\":true"), "{version:?}: {text}");
        assert!(!is_broken, "{version:?}");
    }
}

#[tokio::test]
async fn the_end_record_of_a_broken_body_reaches_a_client_before_the_break() {
    for version in VERSIONS {
        let failed = || two_pages(Event::Broken(verdict(3), AskError::ShuttingDown));
        let (text, is_broken) = over_a_socket(version, failed).await;
        assert!(text.starts_with(ROWS), "{version:?}: {text}");
        assert!(text.ends_with('\n') && text.contains("\"code\":\"shutting_down\""), "{version:?}: {text}");
        assert!(is_broken, "{version:?}");
    }
}

#[tokio::test]
async fn the_end_record_arrives_after_more_bytes_than_the_clients_window() {
    let failed = || {
        let row = format!("\"{}\"", "x".repeat(CHUNK));
        let rows = (0..20).map(|_| Event::Rows(whole_slice(&[&row])));
        rows.chain([Event::Broken(verdict(20), AskError::ShuttingDown)]).collect()
    };
    for version in VERSIONS {
        let (text, is_broken) = over_a_socket(version, failed).await;
        assert_eq!((text.lines().count(), is_broken), (21, true), "{version:?}");
        assert!(text.lines().last().unwrap().contains("shutting_down"), "{version:?}");
    }
}

fn expired() -> Problem {
    Problem::new(Code::Unauthenticated, "the token is unknown or has expired")
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_rest_is_sent_before_the_break() {
    let refused = Event::Refused(verdict(3), Box::new(expired()));
    let (text, end) = read(body(Coding::Identity, EndRecord::Wanted, two_pages(refused))).await;
    assert!(end.is_err());
    let text = String::from_utf8(text).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.strip_prefix(ROWS).unwrap()).unwrap();
    assert_eq!((&last["@end"]["complete"], &last["@end"]["count"]), (&false.into(), &3.into()));
    assert_eq!(last["@end"]["error"]["code"], "unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_precedes_ready_rows() {
    let shutdown = Shutdown::default();
    let engine = crate::http::testing::engine(&shutdown);
    let credential = Credential::new(CredentialId::new([1; 16]), "bn-1".to_owned().into());
    let question = || Question {
        caller: Caller::of_key(credential.id()),
        credential: credential.clone(),
        agent: AgentId::new(uuid::Uuid::from_u128(7)),
        filters: Filters::default(),
        any_status: None,
        from: None,
        to: None,
        newest: None,
        directives: CacheDirectives::default(),
        tolerance: Tolerance::Strict,
        mode: ResponseMode::Streamed { row_wait: Duration::from_secs(50) },
        need: RowNeed::Bytes,
        trace: Trace::default(),
    };
    let answer = engine.ask(question()).await.unwrap();
    let never = Box::pin(std::future::pending());
    let events: Vec<_> = super::events(answer, shutdown.clone(), never).collect().await;
    assert!(matches!(events[..], [Event::Rows(_), .., Event::Reached(_)]), "{events:?}");
    let answer = engine.ask(question()).await.unwrap();
    let refused = Box::pin(async { expired() });
    let events: Vec<_> = super::events(answer, shutdown, refused).collect().await;
    assert!(matches!(events[..], [Event::Refused(..)]), "{events:?}");
}
