use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::http::testing::{AGENT, BAD_KEY, OTHER_AGENT, ROWS, Reply, app, app_over};
use crate::store::testing::MapStore;

async fn ask(method: Method, agents: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    ask_of(app(1 << 20), method, agents, path, headers).await
}

async fn ask_of(
    app: axum::Router,
    method: Method,
    agents: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/agents/{agents}/executions/{path}"))
        .header("host", "test");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let has_key = headers.iter().any(|(name, _)| *name == "authorization");
    let request = if has_key { request } else { request.header("authorization", "Bearer bn-1") };
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn get(agents: &str, path: &str) -> Reply {
    ask(Method::GET, agents, path, &[]).await
}

/// A range whose end does not move.
const PAST: &str = "all?to=2026-01-01";

fn both() -> String {
    format!("{AGENT},{OTHER_AGENT}")
}

fn document(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

#[tokio::test]
async fn a_document_has_the_usual_envelope_for_each_agent_in_order() {
    for agents in [both(), "all".to_owned(), format!("{OTHER_AGENT},{},{AGENT}", AGENT.to_uppercase())] {
        let reply = get(&agents, PAST).await;
        let told = document(&reply);
        assert_eq!((reply.status, reply.header("x-total-count")), (200, "6"), "{agents}");
        assert_eq!((&told["complete"], &told["total"]), (&true.into(), &6.into()));
        let alone = async |agent| document(&get(agent, PAST).await);
        let sections = [alone(OTHER_AGENT).await, alone(AGENT).await];
        assert_eq!(told["agents"], Value::from(sections.to_vec()));
        assert_eq!(told["as_of"], told["agents"][0]["as_of"]);
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        for name in ["age", "cache-control", "cache-status", "etag", "vary"] {
            assert_ne!(reply.header(name), "", "{name}");
        }
    }
}

#[tokio::test]
async fn validators_and_heads_need_no_bytes() {
    let store = Arc::new(MapStore::default());
    let app = app_over(Arc::clone(&store), 1 << 20);
    let evicted = async |method, headers: &[(&str, &str)]| {
        store.0.lock().unwrap().clear();
        ask_of(app.clone(), method, "all", PAST, headers).await
    };
    let first = evicted(Method::GET, &[]).await;
    let etag = first.header("etag").to_owned();
    let head = evicted(Method::HEAD, &[]).await;
    assert_eq!((head.status, head.header("etag"), head.header("x-total-count")), (200, &*etag, "6"));
    assert_eq!(head.header("content-length"), first.header("content-length"));
    let same = evicted(Method::GET, &[("if-none-match", &etag)]).await;
    assert_eq!((same.status, same.header("etag")), (304, &*etag));
    for reply in [&head, &same] {
        assert!(reply.header("cache-status").contains("requests=0"), "{}", reply.header("cache-status"));
    }
    let other = evicted(Method::GET, &[("if-none-match", "W/\"other\"")]).await;
    assert_eq!((other.status, &other.body), (200, &first.body));
}

#[tokio::test]
async fn the_shape_depends_on_the_request_alone() {
    let one = document(&get(AGENT, PAST).await);
    let listed = document(&get(&format!("{AGENT},{AGENT}"), PAST).await);
    assert_eq!(listed["agents"], Value::from(vec![one]));
}

#[tokio::test]
async fn ndjson_has_sections_and_the_last_line_has_the_outcome_of_each() {
    for query in ["all?format=ndjson", "all?format=ndjson&end_record=true"] {
        let reply = get(&both(), query).await;
        let lines: Vec<&str> = reply.text().lines().collect();
        let section = |agent: &str| format!("{{\"@agent\":{{\"agent_id\":\"{agent}\"}}}}");
        let (first, second) = (section(OTHER_AGENT), section(AGENT));
        assert_eq!(lines[..8], [&[&*first], ROWS.as_slice(), &[&second], &ROWS].concat());
        let end: Value = serde_json::from_str(lines[8]).unwrap();
        let end = &end["@end"];
        assert_eq!((&end["complete"], &end["count"], lines.len()), (&true.into(), &6.into(), 9));
        assert_eq!(end["agents"][0]["agent_id"], OTHER_AGENT);
        assert_eq!((&end["agents"][1]["complete"], &end["agents"][1]["count"]), (&true.into(), &3.into()));
    }
}

#[tokio::test]
async fn each_line_of_a_table_names_its_agent() {
    let reply = get(&both(), "all?format=csv&fields=id,status").await;
    let lines: Vec<&str> = reply.text().split_terminator("\r\n").collect();
    assert_eq!(lines[0], "\"@agent_id\",\"id\",\"status\"");
    assert_eq!((lines.len(), &*format!("{OTHER_AGENT},c,completed")), (7, lines[1]));
    assert_eq!(lines[6], format!("{AGENT},a,completed"));
    let disposition = reply.header("content-disposition");
    assert!(disposition.contains("executions-2-agents-2026-01-02.csv"), "{disposition}");
    let placed = get("all", "all?format=csv&fields=id,@agent_id").await;
    assert!(placed.text().starts_with("\"id\",\"@agent_id\"\r\n"), "{}", placed.text());
    assert!(placed.header("content-disposition").contains("executions-all-2026-01-02.csv"));
}

#[tokio::test]
async fn totals_are_over_all_agents() {
    let reply = get(&both(), "summary?group_by=@agent_id,status&stats=cost").await;
    let told = document(&reply);
    assert_eq!((reply.header("x-total-count"), &told["total"]), ("6", &6.into()));
    assert_eq!(told["groups"][0]["key"]["@agent_id"], OTHER_AGENT);
    assert_eq!(
        (&told["groups"][1]["key"]["@agent_id"], &told["groups"][1]["count"]),
        (&AGENT.into(), &3.into())
    );
    assert_eq!(told["agents"][1]["agent_id"], AGENT);
    assert_eq!((&told["agents"][1]["total"], &told["agent_id"]), (&3.into(), &Value::Null));
    let whole = document(&get("all", "summary?group_by=status").await);
    assert_eq!((whole["groups"].as_array().unwrap().len(), &whole["groups"][0]["count"]), (1, &6.into()));
}

#[tokio::test]
async fn the_validator_of_each_form_depends_on_the_agents() {
    let mut seen = Vec::new();
    for (agents, path) in [
        (both(), "all"),
        (both(), "all?fields=id"),
        (both(), "all?format=csv"),
        (both(), "summary"),
        (AGENT.to_owned(), "all"),
        (format!("{AGENT},{AGENT}"), "all"),
    ] {
        let etag = get(&agents, path).await.header("etag").to_owned();
        assert!(!etag.is_empty() && !seen.contains(&etag), "{path}: {etag}");
        let again = ask(Method::GET, &agents, path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let head = ask(Method::HEAD, &agents, path, &[]).await;
        assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, &*etag), "{path}");
        seen.push(etag);
    }
    let lines = ask(Method::GET, &both(), "all?format=ndjson", &[("if-none-match", &seen[0])]).await;
    assert_eq!(lines.status, 304);
}

#[tokio::test]
async fn a_key_that_is_refused_is_refused_for_all_agents() {
    for path in ["all", "all?format=ndjson", "all?format=csv", "summary"] {
        for agents in [both(), "all".to_owned()] {
            let headers = [("authorization", &*format!("Bearer {BAD_KEY}")), ("prefer", "handling=lenient")];
            let reply = ask(Method::GET, &agents, path, &headers).await;
            assert_eq!(reply.status, 403, "{path} {agents}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn invalid_lists_are_refused_by_name() {
    for agents in ["ALL", "all,all", "x", &format!("{AGENT},"), &format!("{AGENT},all")] {
        let reply = get(agents, "all").await;
        assert_eq!(reply.status, 400, "{agents}");
        assert!(reply.text().contains("`agents` is not valid"), "{}", reply.text());
    }
}
