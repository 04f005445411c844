use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::http::testing::{BAD_KEY, Reply};

async fn ask(method: Method, target: &str, key: Option<&str>) -> Reply {
    let request = Request::builder().method(method).uri(target).header("host", "test");
    let request = match key {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    };
    let response =
        crate::http::testing::app(1 << 20).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn the_status_is_given_to_a_key_that_upstream_accepts() {
    let reply = ask(Method::GET, "/status", Some("bn-1")).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
    assert_eq!(reply.header("content-type"), "application/json");
    let document: Value = serde_json::from_slice(&reply.body).unwrap();
    let expected = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": document["started_at"],
        "upstream": "ok",
        "budget": { "limit": null, "period": null, "left": null, "paused_until": null },
        "ttl_stretch": 1.0,
        "questions": 0,
        "tier": { "kind": "none", "state": "ok" },
    });
    assert_eq!(document, expected);
    assert!(document["started_at"].as_str().unwrap().starts_with("2026-01-03T00:00:00."));
}

#[tokio::test]
async fn other_callers_do_not_get_the_status() {
    for (key, status, code) in [(None, 401, "unauthenticated"), (Some(BAD_KEY), 403, "upstream_denied")] {
        let reply = ask(Method::GET, "/status", key).await;
        assert_eq!(reply.status, status);
        assert!(reply.text().contains(code), "{}", reply.text());
    }
}

#[tokio::test]
async fn the_status_has_one_path_and_takes_no_parameters() {
    for (method, target, status) in [
        (Method::HEAD, "/status", 200),
        (Method::POST, "/status", 405),
        (Method::DELETE, "/status", 405),
        (Method::GET, "/status/", 404),
        (Method::GET, "/status/x", 404),
        (Method::GET, "/status?key=bn-1", 400),
    ] {
        assert_eq!(ask(method.clone(), target, Some("bn-1")).await.status, status, "{method} {target}");
    }
}
