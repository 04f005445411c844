use http::Method;

use crate::http::problem::Code;
use crate::http::testing::{AGENT, ROWS, Reply, app, ask};

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// The rows of a stream, and its end.
fn lines(reply: &Reply) -> (Vec<&str>, serde_json::Value) {
    let mut lines: Vec<_> = reply.text().lines().collect();
    let end: serde_json::Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    (lines, end["@end"].clone())
}

async fn get(app: &axum::Router, query: &str) -> Reply {
    ask(app, Method::GET, &format!("changes?{query}"), &[]).await
}

fn code(reply: &Reply) -> (u16, String) {
    (reply.status, json(reply)["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn the_first_response_has_everything_and_the_next_one_nothing_new() {
    let app = app(1 << 20);
    let first = get(&app, "format=ndjson").await;
    let (rows, end) = lines(&first);
    assert_eq!(rows, ROWS);
    assert_eq!(
        (&end["complete"], &end["count"], &end["removed"], &end["total"]),
        (&true.into(), &3.into(), &0.into(), &3.into())
    );
    let cursor = end["cursor"].as_str().unwrap();
    for format in ["ndjson", "json"] {
        let next = get(&app, &format!("format={format}&since={cursor}")).await;
        assert!(next.body.len() <= 400, "{}", next.body.len());
        let end = if format == "json" { json(&next) } else { lines(&next).1 };
        assert_eq!((&end["cursor"], &end["total"]), (&cursor.into(), &3.into()), "{}", next.text());
    }
}

#[tokio::test]
async fn a_document_has_the_same_content_as_a_stream() {
    let app = app(1 << 20);
    let reply = get(&app, "fields=id,status").await;
    let document = json(&reply);
    let cursor = document["cursor"].as_str().unwrap();
    let rows: Vec<_> =
        ["c", "b", "a"].map(|id| format!("{{\"id\":\"{id}\",\"status\":\"completed\"}}")).into();
    let as_of = document["as_of"].as_str().unwrap();
    let expected = format!(
        "{{\"agent_id\":\"{AGENT}\",\"as_of\":\"{as_of}\",\"complete\":true,\"total\":3,\"since\":null,\"cursor\":\"{cursor}\",\
         \"removed\":[],\"data\":[{}]}}",
        rows.join(",")
    );
    assert_eq!(reply.text(), expected);
    assert_eq!(
        (reply.header("content-length"), reply.header("x-total-count")),
        (&*expected.len().to_string(), "3")
    );
    assert_eq!(json(&get(&app, &format!("since={cursor}")).await)["since"], cursor);
}

#[tokio::test]
async fn a_cursor_is_bound_to_its_question_but_not_to_fields_and_format() {
    let app = app(1 << 20);
    let first = json(&get(&app, "fields=id&status=busy,completed").await);
    let cursor = first["cursor"].as_str().unwrap();
    for same in [
        "status=completed&status=busy",
        "status=busy,completed&omit=status",
        "status=busy,completed&time_zone=Asia/Kolkata",
    ] {
        let reply = get(&app, &format!("{same}&since={cursor}")).await;
        assert_eq!((reply.status, &json(&reply)["data"]), (200, &serde_json::json!([])), "{same}");
    }
    for (other, part) in [
        ("", "filters"),
        ("status=completed", "filters"),
        ("status=busy,completed&from=2026-01-01", "`from`"),
    ] {
        let reply = get(&app, &format!("{other}&since={cursor}")).await;
        assert_eq!(code(&reply), (400, "invalid_request".to_owned()), "{other}");
        assert!(reply.text().contains(part) && reply.text().contains("`since`"), "{}", reply.text());
    }
    for malformed in ["", "c1.", "x", &cursor[..cursor.len() - 1], &format!("{cursor}A"), "%00"] {
        let reply = get(&app, &format!("status=busy,completed&since={malformed}")).await;
        assert_eq!(code(&reply), (400, "invalid_request".to_owned()), "{malformed}");
    }
}

#[tokio::test]
async fn a_cursor_outlives_the_process_if_nothing_changed() {
    let cursor = json(&get(&app(1 << 20), "").await)["cursor"].as_str().unwrap().to_owned();
    let restarted = app(1 << 20);
    let reply = json(&get(&restarted, &format!("since={cursor}")).await);
    assert_eq!((&reply["data"], &reply["removed"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_ne!(reply["cursor"], cursor);
    let again = reply["cursor"].as_str().unwrap();
    assert_eq!(json(&get(&restarted, &format!("since={again}")).await)["cursor"], again);
}

#[tokio::test]
async fn a_validator_saves_the_body() {
    let app = app(1 << 20);
    let first = get(&app, "").await;
    let cursor = json(&first)["cursor"].as_str().unwrap().to_owned();
    let polled = get(&app, &format!("since={cursor}")).await;
    assert_ne!(first.header("etag"), polled.header("etag"));
    let path = format!("changes?since={cursor}");
    let same = ask(&app, Method::GET, &path, &[("if-none-match", polled.header("etag"))]).await;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, polled.header("etag")));
    assert!(!same.header("age").is_empty() && !same.header("cache-status").is_empty());
    let other = ask(&app, Method::GET, &path, &[("if-none-match", first.header("etag"))]).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn head_makes_no_cursor_and_has_the_headers() {
    let app = app(1 << 20);
    for format in ["json", "ndjson"] {
        let head = ask(&app, Method::HEAD, &format!("changes?format={format}"), &[]).await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, ""), "{format}");
    }
    let known = get(&app, "").await;
    let head = ask(&app, Method::HEAD, "changes", &[]).await;
    assert_eq!(head.header("etag"), known.header("etag"));
}

#[tokio::test]
async fn no_store_has_no_cursor_and_says_why() {
    let app = app(1 << 20);
    let reply = ask(&app, Method::GET, "changes?format=ndjson", &[("cache-control", "no-store")]).await;
    let (rows, end) = lines(&reply);
    assert_eq!((rows.len(), &end["cursor"]), (3, &serde_json::Value::Null));
    assert!(end["cursor_reason"].as_str().unwrap().contains("no-store"));
}

#[tokio::test]
async fn lenient_handling_is_ignored_and_csv_is_refused() {
    let app = app(1 << 20);
    let lenient = ask(&app, Method::GET, "changes?format=ndjson", &[("prefer", "handling=lenient")]).await;
    assert_eq!((lenient.status, lenient.header("preference-applied")), (200, ""));
    let csv = ask(&app, Method::GET, "changes", &[("accept", "text/csv")]).await;
    assert_eq!(code(&csv), (406, Code::NotAcceptable.as_str().to_owned()));
    let cached =
        ask(&app, Method::GET, "changes?from=2026-01-01", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(cached.status, 200, "the rows are known from the first request");
}

#[tokio::test]
async fn a_response_above_the_byte_limit_is_refused_with_advice() {
    let reply = get(&app(100), "").await;
    assert_eq!(code(&reply), (422, "answer_too_large".to_owned()));
    assert_eq!(lines(&get(&app(100), "format=ndjson").await).0.len(), 3);
}
