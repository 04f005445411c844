use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use axum::http::Request;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;

use super::*;
use crate::domain::{AgentId, Credential, CredentialId, Digest, Span, Timestamp};
use crate::encode::whole_slice;
use crate::engine::{AskError, CacheReport, Freshness, HeldMemory, Missing};
use crate::http::access_log::RequestLog;
use crate::http::authorized::ResponseShape;
use crate::http::problem::{ErrorRenderer, ErrorStyle, KeyOwner};
use crate::telemetry::Trace;

const LONGEST: Duration = Duration::from_secs(50);

fn authorized() -> AuthorizedRequest {
    AuthorizedRequest {
        caller: crate::domain::Caller::of_key(crate::domain::CredentialId::new([1; 16])),
        agent: AgentId::new(uuid::Uuid::from_u128(7)),
        credential: Credential::new(CredentialId::new([0; 16]), "bn-1".to_owned().into()),
        renderer: ErrorRenderer { style: ErrorStyle::Own, key: KeyOwner::Callers },
        request_log: Arc::new(RequestLog::open("r-1".into(), Trace::default())),
    }
}

fn wanted(method: Method, query: &str, headers: &[(&'static str, &str)]) -> AllRequest {
    let builder = Request::builder().method(method).uri(format!("/?{query}"));
    let request = headers.iter().fold(builder, |b, (name, value)| b.header(*name, *value)).body(()).unwrap();
    AllRequest::read(request.into_parts().0, LONGEST, ResponseShape::Plain).unwrap()
}

fn get(query: &str, headers: &[(&'static str, &str)]) -> AllRequest {
    wanted(Method::GET, query, headers)
}

fn verdict(count: u64) -> Verdict {
    Verdict {
        as_of: Timestamp::from_micros(0),
        count,
        total: Some(count),
        digest: Digest(5),
        missing: Vec::new(),
        freshness: Freshness { age: Duration::from_secs(4), lifetime: Duration::from_secs(10) },
        report: CacheReport { hit_rows: count, ..CacheReport::default() },
    }
}

fn two_rows() -> Collected {
    Collected {
        slices: vec![whole_slice(&["{\"id\":\"a\"}", "{\"id\":\"b\"}"])],
        verdict: verdict(2),
        held: HeldMemory::default(),
    }
}

fn place() -> ResponsePlace {
    ResponsePlace::alone()
}

async fn whole(wanted: AllRequest, collected: Collected) -> Response {
    let compression_pool = crate::encode::CompressionPool::new(NonZeroUsize::MIN);
    wanted.whole(&compression_pool, collected, &authorized(), place()).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_document_has_upstreams_envelope_and_the_verdict() {
    let response = whole(get("", &[]), two_rows()).await;
    let headers = response.headers().clone();
    let expected = "{\"agent_id\":\"00000000-0000-0000-0000-000000000007\",\"as_of\":\"1970-01-01T00:00:00.000000Z\",\
                    \"page_number\":1,\"page_size\":2,\"total\":2,\"has_more\":false,\"complete\":true,\
                    \"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}";
    assert_eq!(text(response).await, expected);
    for (name, value) in [
        ("content-length", expected.len().to_string().as_str()),
        ("content-type", "application/json"),
        ("x-total-count", "2"),
        ("age", "4"),
        ("cache-control", "private, max-age=10"),
        ("etag", "W/\"00000000000000000000000000000005-2\""),
        ("vary", "Accept, Accept-Encoding, Authorization, Prefer"),
    ] {
        assert_eq!(header_text(&headers, name), Some(value), "{name}");
    }
    assert!(header_text(&headers, "cache-status").unwrap().starts_with("fanfold; hit"));
}

#[tokio::test]
async fn a_document_of_the_newest_rows_says_that_there_are_older_ones() {
    let newest = || {
        let mut collected = two_rows();
        collected.verdict.total = None;
        collected
    };
    let response = whole(get("limit=2", &[]), newest()).await;
    assert_eq!(header_text(response.headers(), "x-total-count"), None);
    let etag = header_text(response.headers(), "etag").unwrap().to_owned();
    assert_eq!(etag, "W/\"00000000000000000000000000000005-2+\"");
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!((&body["has_more"], &body["page_size"], body.get("total")), (&true.into(), &2.into(), None));
    assert_eq!(body["complete"], true);
    let known = [("if-none-match", etag.as_str())];
    assert!(
        get("limit=2", &known).terms.not_modified(&newest().verdict, &authorized().request_log).is_some()
    );
    assert!(get("", &known).terms.not_modified(&verdict(2), &authorized().request_log).is_none());

    let mut lines = get("format=ndjson&end_record=true&limit=2", &[]);
    lines.terms.parts.version = Version::HTTP_10;
    let lines = AllRequest::read(lines.terms.parts, LONGEST, ResponseShape::Plain).unwrap();
    let text = text(whole(lines, newest()).await).await;
    let end = text.lines().last().unwrap();
    assert!(end.starts_with("{\"@end\":{\"complete\":true,\"count\":2,\"as_of\":"), "{end}");
    assert!(end.ends_with(",\"has_more\":true}}"), "{end}");
}

#[tokio::test]
async fn a_partial_response_says_so_and_must_not_be_stored() {
    let mut collected = two_rows();
    let error = AskError::Source(crate::source::SourceError::TimedOut);
    collected.verdict.missing.push(Missing { span: Span::at(Timestamp::from_micros(1)), error });
    let response = whole(get("", &[("prefer", "handling=lenient")]), collected).await;
    assert_eq!(header_text(response.headers(), "cache-control"), Some("no-store"));
    assert_eq!(header_text(response.headers(), "preference-applied"), Some("handling=lenient"));
    assert_eq!(header_text(response.headers(), "etag"), None);
    let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["complete"], false);
    assert_eq!(body["missing"][0]["code"], "upstream_timeout");
    assert_eq!(body["missing"][0]["from"], "1970-01-01T00:00:00.000001Z");
}

#[tokio::test]
async fn head_has_the_same_headers_and_no_body() {
    let got = whole(get("", &[]), two_rows()).await;
    let head = whole(wanted(Method::HEAD, "", &[]), two_rows()).await;
    assert_eq!(head.headers(), got.headers());
    assert_eq!(text(head).await, "");
}

#[tokio::test]
async fn a_large_document_is_one_gzip_member_of_known_length() {
    use std::io::Read;
    let row = format!("{{\"id\":\"{}\"}}", "x".repeat(4000));
    let collected =
        || Collected { slices: vec![whole_slice(&[&row])], verdict: verdict(1), held: HeldMemory::default() };
    let plain = text(whole(get("", &[]), collected()).await).await;
    let response = whole(get("", &[("accept-encoding", "gzip")]), collected()).await;
    assert_eq!(header_text(response.headers(), "content-encoding"), Some("gzip"));
    let length: usize = header_text(response.headers(), "content-length").unwrap().parse().unwrap();
    let head = whole(wanted(Method::HEAD, "", &[("accept-encoding", "gzip")]), collected()).await;
    assert_eq!(head.headers(), response.headers());
    assert_eq!(text(head).await, "");
    let wire = response.into_body().collect().await.unwrap().to_bytes();
    let mut read = String::new();
    flate2::read::GzDecoder::new(&wire[..]).read_to_string(&mut read).unwrap();
    assert_eq!((wire.len(), read), (length, plain));
}

#[test]
fn a_caller_that_has_the_rows_gets_304() {
    let known = [("if-none-match", "\"00000000000000000000000000000005-2\"")];
    for query in ["format=json", "format=ndjson"] {
        let response = get(query, &known).terms.not_modified(&verdict(2), &authorized().request_log).unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(response.headers().contains_key(header::ETAG));
    }
    assert!(get("", &known).terms.not_modified(&verdict(3), &authorized().request_log).is_none());
    assert!(get("", &[]).terms.not_modified(&verdict(2), &authorized().request_log).is_none());
    let mut partial = verdict(2);
    partial.missing.push(Missing { span: Span::at(Timestamp::MIN), error: AskError::NotCached });
    assert!(get("", &known).terms.not_modified(&partial, &authorized().request_log).is_none());
}

#[tokio::test]
async fn lines_to_an_old_client_have_a_length_and_may_have_an_end_record() {
    let mut wanted = get("format=ndjson&end_record=true", &[]);
    assert_eq!(wanted.delivery, Delivery::Streamed);
    wanted.terms.parts.version = Version::HTTP_10;
    let wanted = AllRequest::read(wanted.terms.parts, LONGEST, ResponseShape::Plain).unwrap();
    assert_eq!(wanted.delivery, Delivery::Collected);
    let response = whole(wanted, two_rows()).await;
    let length: usize = header_text(response.headers(), "content-length").unwrap().parse().unwrap();
    let text = text(response).await;
    assert_eq!(text.len(), length);
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().last().unwrap().starts_with("{\"@end\":{\"complete\":true,\"count\":2,"));
}

#[test]
fn wait_bounds_a_whole_document_and_each_row_of_a_stream() {
    let wait = [("prefer", "wait=10")];
    let mode = |query, headers: &[_]| get(query, headers).question(&authorized()).mode;
    let ten = Duration::from_secs(10);
    assert_eq!(mode("format=ndjson", &wait), ResponseMode::Streamed { row_wait: ten });
    assert_eq!(mode("format=ndjson", &[]), ResponseMode::Streamed { row_wait: LONGEST });
    let before = Instant::now();
    match mode("", &wait) {
        ResponseMode::Collected { deadline } => {
            assert!(deadline >= before + ten && deadline < before + LONGEST);
        }
        other @ (ResponseMode::Streamed { .. }
        | ResponseMode::Paged { .. }
        | ResponseMode::Condensed { .. }) => panic!("a document is collected, not {other:?}"),
    }
}

#[tokio::test]
async fn openapi_yaml_describes_every_response_header() {
    let document: serde_json::Value = serde_norway::from_str(crate::http::OPENAPI).unwrap();
    let described = |status: &str| -> BTreeSet<String> {
        let responses = &document["paths"]["/agents/{agents}/executions/all"]["get"]["responses"];
        let headers = responses[status]["headers"].as_object().unwrap();
        headers.keys().map(|name| name.to_ascii_lowercase()).chain(["content-type".to_owned()]).collect()
    };
    let mut sent: BTreeSet<String> =
        ["x-request-id", "x-content-type-options", "server-timing"].map(str::to_owned).into();
    let names = |response: &Response| -> Vec<String> {
        response.headers().keys().map(|name| name.as_str().to_owned()).collect()
    };
    let headers = [("accept-encoding", "gzip, identity;q=0"), ("prefer", "wait=1")];
    sent.extend(names(&whole(get("", &headers), two_rows()).await));
    sent.extend(names(&whole(get("format=csv", &headers), two_rows()).await));
    assert_eq!(sent, described("200"));

    let not_modified = get("", &[("if-none-match", "*")])
        .terms
        .not_modified(&verdict(2), &authorized().request_log)
        .unwrap();
    for name in names(&not_modified) {
        assert!(described("304").contains(&name), "{name}");
    }
}
