use std::io::Read;

use axum::http::Method;

use super::*;
use crate::http::testing::{self, AGENT, Reply, app};

async fn ask(app: &axum::Router, method: Method, query: &str, headers: &[(&str, &str)]) -> Reply {
    testing::ask(app, method, &format!("all?{query}"), headers).await
}

async fn get(query: &str, headers: &[(&str, &str)]) -> Reply {
    ask(&app(1 << 20), Method::GET, query, headers).await
}

#[tokio::test]
async fn a_document_has_the_chosen_fields_in_their_order() {
    let reply = get("fields=status,id", &[]).await;
    let rows = "\"data\":[{\"status\":\"completed\",\"id\":\"c\"},{\"status\":\"completed\",\"id\":\"b\"},\
                {\"status\":\"completed\",\"id\":\"a\"}]}";
    assert!(reply.text().ends_with(rows), "{}", reply.text());
    assert_eq!(
        (reply.header("content-length"), reply.header("x-total-count")),
        (&*reply.body.len().to_string(), "3")
    );
}

#[tokio::test]
async fn lines_have_the_chosen_fields_and_the_usual_end() {
    let reply = get("fields=id,nothing&format=ndjson&end_record=true", &[]).await;
    let (rows, end) = reply.text().split_at(33);
    assert_eq!(rows, "{\"id\":\"c\"}\n{\"id\":\"b\"}\n{\"id\":\"a\"}\n");
    assert!(end.starts_with("{\"@end\":{\"complete\":true,\"count\":3,"), "{end}");
}

#[tokio::test]
async fn omitted_members_are_gone_and_the_rest_stays() {
    let reply = get("omit=created_at&format=ndjson", &[]).await;
    assert!(reply.text().starts_with("{\"id\":\"c\",\"status\":\"completed\"}\n"), "{}", reply.text());
}

#[tokio::test]
async fn the_agents_id_is_that_of_the_request() {
    let reply = get("fields=@agent_id,id&format=ndjson", &[]).await;
    assert!(reply.text().starts_with(&format!("{{\"@agent_id\":\"{AGENT}\",\"id\":\"c\"}}\n")));
}

#[tokio::test]
async fn a_table_is_a_file_of_known_length() {
    let reply = get("format=csv&fields=status,id,extra", &[]).await;
    let expected = "\"status\",\"id\",\"extra\"\r\ncompleted,c,\r\ncompleted,b,\r\ncompleted,a,\r\n";
    assert_eq!(reply.text(), expected);
    for (name, value) in [
        ("content-type", "text/csv; charset=utf-8; header=present"),
        ("content-length", &expected.len().to_string()),
        ("x-total-count", "3"),
        ("content-disposition", "attachment; filename=\"executions-6f9619ff-2026-01-02.csv\""),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    let by_accept = get("fields=status,id,extra", &[("accept", "text/csv")]).await;
    assert_eq!(by_accept.text(), expected);
}

#[tokio::test]
async fn a_table_without_rows_has_its_header_line() {
    let reply = get("format=csv&fields=id&from=2026-01-02", &[]).await;
    assert_eq!((reply.text(), reply.header("x-total-count")), ("\"id\"\r\n", "0"));
}

#[tokio::test]
async fn a_table_has_default_columns() {
    let reply = get("format=csv", &[]).await;
    let names: Vec<_> = DEFAULT_COLUMNS.split(',').map(|name| format!("\"{name}\"")).collect();
    assert_eq!(reply.text().lines().next().unwrap(), names.join(","));
    let named = get(&format!("format=csv&fields={DEFAULT_COLUMNS}"), &[]).await;
    assert_eq!((named.body, named.headers.get("etag")), (reply.body.clone(), reply.headers.get("etag")));
}

#[tokio::test]
async fn compressed_forms_have_the_same_content() {
    let app = app(1 << 20);
    for query in ["fields=id,status", "omit=status", "format=csv", "format=ndjson&fields=id"] {
        let plain = ask(&app, Method::GET, query, &[]).await;
        let packed = ask(&app, Method::GET, query, &[("accept-encoding", "gzip, identity;q=0")]).await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{query}");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.body, "{query}");
    }
}

#[tokio::test]
async fn a_head_has_the_headers_of_the_form() {
    for query in ["fields=id", "omit=id", "format=csv"] {
        let app = app(1 << 20);
        let (head, get) =
            (ask(&app, Method::HEAD, query, &[]).await, ask(&app, Method::GET, query, &[]).await);
        assert_eq!(head.body, b"");
        for name in ["content-length", "content-type", "etag", "x-total-count", "content-disposition"] {
            assert_eq!(head.header(name), get.header(name), "{query} {name}");
        }
    }
}

#[tokio::test]
async fn each_form_has_its_own_validator() {
    let app = app(1 << 20);
    let mut seen = Vec::new();
    let queries = [
        "",
        "fields=id",
        "fields=id,status",
        "fields=status,id",
        "omit=id,status",
        "format=csv",
        "format=csv&fields=id,status",
    ];
    for query in queries {
        let etag = ask(&app, Method::GET, query, &[]).await.header("etag").to_owned();
        assert!(!seen.contains(&etag), "{query} {etag}");
        let again = ask(&app, Method::GET, query, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.header("etag"), again.body.len()), (304, &*etag, 0), "{query}");
        let other = ask(&app, Method::GET, "fields=created_at", &[("if-none-match", &etag)]).await;
        assert_eq!(other.status, 200, "{query}");
        seen.push(etag);
    }
    let spelled = ask(&app, Method::GET, "fields=%22id%22", &[]).await;
    assert_eq!(spelled.header("etag"), seen[1]);
}

#[tokio::test]
async fn the_largest_response_is_counted_in_bytes_that_are_sent() {
    let app = app(90);
    assert_eq!(ask(&app, Method::GET, "", &[]).await.status, 422);
    assert_eq!(ask(&app, Method::GET, "fields=id", &[]).await.status, 200);
    assert_eq!(ask(&app, Method::GET, "format=csv&fields=id,status", &[]).await.status, 200);
    assert_eq!(ask(&app, Method::GET, "format=csv&fields=id,created_at,status", &[]).await.status, 422);
}

#[tokio::test]
async fn a_table_is_complete_even_with_lenient_handling() {
    let reply = get("format=csv", &[("prefer", "handling=lenient, wait=5")]).await;
    assert_eq!(reply.header("preference-applied"), "wait=5");
}

#[tokio::test]
async fn parameters_that_a_format_does_not_support_are_refused_by_name() {
    for (query, name) in [
        ("format=csv&omit=transcript", "`omit`"),
        ("format=csv&end_record=true", "`end_record`"),
        ("format=ndjson&fields=@agent_id", "`fields`"),
        ("format=ndjson&fields=@agent_id,status", "`fields`"),
        ("format=ndjson&fields=%22@end%22", "`fields`"),
        ("fields=id&omit=status", "`omit`"),
        ("format=csv&fields=id..status", "`fields`"),
    ] {
        let reply = get(query, &[]).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text().contains(name) && reply.text().contains("accepted"), "{}", reply.text());
    }
    for query in ["fields=@agent_id", "format=ndjson&fields=@agent_id,id", "format=csv&fields=@agent_id"] {
        assert_eq!(get(query, &[]).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn the_cache_keeps_whole_rows() {
    let app = app(1 << 20);
    let projected = ask(&app, Method::GET, "fields=id", &[]).await;
    let whole = ask(&app, Method::GET, "", &[]).await;
    assert!(projected.header("cache-status").contains("fwd=miss"));
    assert!(whole.header("cache-status").contains("requests=0"), "{}", whole.header("cache-status"));
    assert!(whole.text().contains("\"created_at\""));
}
