use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use crate::http::testing::{Reply, ask};
use crate::store::testing::MapStore;

async fn get(query: &str) -> Reply {
    ask(&crate::http::testing::app(1 << 20), Method::GET, &format!("summary?{query}"), &[]).await
}

fn document(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

#[tokio::test]
async fn totals_are_one_document_with_the_usual_headers() {
    let reply = get("group_by=@day,status&stats=cost&time_zone=asia/calcutta").await;
    let told = document(&reply);
    assert_eq!((reply.status, reply.header("x-total-count"), told["total"].as_u64()), (200, "3", Some(3)));
    assert_eq!((&told["complete"], &told["time_zone"]), (&true.into(), &"Asia/Kolkata".into()));
    let group = &told["groups"][0];
    assert_eq!(group["key"]["@day"], "2026-01-01");
    assert_eq!(group["key"]["status"], "completed");
    assert_eq!((&group["count"], &group["stats"]["cost"]["count"]), (&3.into(), &0.into()));
    assert_eq!(group["from"], "2025-12-31T18:30:00.000000Z");
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    for name in ["age", "cache-control", "cache-status", "etag", "vary"] {
        assert_ne!(reply.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn a_table_has_a_line_for_each_group() {
    let reply = get("group_by=status&stats=cost&format=csv").await;
    let header = "\"status\",\"count\",\"cost.count\",\"cost.sum\",\"cost.min\",\"cost.max\"";
    assert_eq!(reply.text(), format!("{header}\r\ncompleted,3,0,0,,\r\n"));
    assert_eq!(reply.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(
        reply.header("content-disposition"),
        "attachment; filename=\"summary-6f9619ff-2026-01-02.csv\""
    );
}

#[tokio::test]
async fn each_question_has_its_own_validator() {
    let app = crate::http::testing::app(1 << 20);
    let queries = ["", "group_by=@day", "group_by=@day&time_zone=Asia/Kolkata", "format=csv", "stats=cost"];
    let mut seen = vec![ask(&app, Method::GET, "all", &[]).await.header("etag").to_owned()];
    for query in queries {
        let path = format!("summary?{query}");
        let etag = ask(&app, Method::GET, &path, &[]).await.header("etag").to_owned();
        assert!(!seen.contains(&etag), "{query} {etag}");
        for method in [Method::GET, Method::HEAD] {
            let again = ask(&app, method, &path, &[("if-none-match", &etag)]).await;
            assert_eq!((again.status, again.header("etag"), again.body.len()), (304, &*etag, 0), "{query}");
        }
        seen.push(etag);
    }
}

#[tokio::test]
async fn totals_and_rows_share_what_is_read() {
    let app = crate::http::testing::app(1 << 20);
    assert!(ask(&app, Method::GET, "summary", &[]).await.header("cache-status").contains("fwd=miss"));
    let rows = ask(&app, Method::GET, "all", &[]).await;
    assert!(rows.header("cache-status").contains("requests=0"), "{}", rows.header("cache-status"));
}

#[tokio::test]
async fn totals_outlive_the_bytes_of_their_rows() {
    let store = Arc::new(MapStore::default());
    let app = crate::http::testing::app_over(Arc::clone(&store), 1 << 20);
    let evicted = async |method, query: &str, headers: &[(&str, &str)]| {
        store.0.lock().unwrap().clear();
        ask(&app, method, &format!("summary?{query}"), headers).await
    };
    let first = evicted(Method::GET, "group_by=@day,status&stats=cost", &[]).await;
    assert!(first.header("cache-status").contains("fwd=miss"));
    for query in [
        "group_by=@day,status&stats=cost",
        "group_by=status,@hour&stats=cost&time_zone=Asia/Kolkata",
        "stats=cost&from=2026-01-01T12:00:02Z&status=completed,failed",
        "stats=cost&histogram=cost&bounds=1,2&format=csv",
    ] {
        let got = evicted(Method::GET, query, &[]).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let head = evicted(Method::HEAD, query, &[]).await;
        let same = evicted(Method::GET, query, &[("if-none-match", got.header("etag"))]).await;
        assert_eq!((head.body.len(), head.header("content-length")), (0, &*got.body.len().to_string()));
        assert_eq!((same.status, same.header("etag")), (304, got.header("etag")));
        for reply in [&got, &head, &same] {
            let status = reply.header("cache-status");
            assert!(status.starts_with("fanfold; hit") && status.contains("requests=0"), "{query}: {status}");
        }
        if query == "group_by=@day,status&stats=cost" {
            assert_eq!(got.body, first.body);
        }
    }
    for query in ["stats=other", "group_by=cost&stats=cost"] {
        for is_known in [false, true] {
            let reply = evicted(Method::GET, query, &[]).await;
            assert_eq!(reply.header("cache-status").contains("requests=0"), is_known, "{query}");
        }
    }
}

#[tokio::test]
async fn unknown_parameters_are_refused_by_name() {
    for (query, name) in
        [("fields=id", "`fields`"), ("group_by=@year", "`group_by`"), ("bounds=1", "`bounds`")]
    {
        let reply = get(query).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text().contains(name) && reply.text().contains("accepted"), "{}", reply.text());
    }
    let app = crate::http::testing::app(1 << 20);
    assert_eq!(ask(&app, Method::GET, "summary", &[("accept", "application/x-ndjson")]).await.status, 406);
}
