//! Answers with rows, through the whole router.

use super::*;

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn returns_every_row_as_one_document_or_as_lines() {
    let router = app(4, &[], |_| {});
    let document = text(get(router.clone(), &all(""), &[]).await).await;
    assert!(document.contains("\"total\":3,\"has_more\":false,\"complete\":true"), "{document}");
    assert!(document.ends_with(&format!("\"data\":[{}]}}", ROWS.join(","))), "{document}");
    let lines = text(get(router.clone(), &all("?format=ndjson"), &[]).await).await;
    assert_eq!(lines, ROWS.map(|row| format!("{row}\n")).concat());
    let ended = text(get(router, &all("?format=ndjson&end_record=true"), &[]).await).await;
    let last = ended.strip_prefix(&lines).unwrap();
    assert!(last.starts_with("{\"@end\":{\"complete\":true,\"count\":3,\"as_of\":\"2026-"), "{last}");
}

#[tokio::test]
async fn a_repeated_request_is_a_hit_and_a_304_with_the_validator() {
    let router = app(4, &[], |_| {});
    // A past end: whether what is new is looked for at once is the engine's business.
    let first = get(router.clone(), &all("?to=2026-01-02T00:00:00Z"), &[]).await;
    let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert!(first.headers()["cache-status"].to_str().unwrap().starts_with("fanfold; fwd=miss"));
    for query in ["?to=2026-01-02T00:00:00Z", "?to=2026-01-02T00:00:00Z&format=ndjson"] {
        let again = get(router.clone(), &all(query), &[]).await;
        let status = again.headers()["cache-status"].to_str().unwrap();
        assert!(status.starts_with("fanfold; hit"), "{query}: {status}");
        assert_eq!(again.headers()[header::ETAG], etag);
        let known = get(router.clone(), &all(query), &[("if-none-match", &etag)]).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(text(known).await, "");
    }
}

#[tokio::test]
async fn the_page_path_relays_with_dates_and_cuts_without() {
    let router = app(4, &[], |_| {});
    let page = |query: &str| format!("/v2/agent/{AGENT}/executions{query}");
    let relayed =
        get(router.clone(), &page("?from=2026-01-01T00:00:00Z&to=2026-01-08T00:00:00Z&anything=1"), &[])
            .await;
    assert_eq!(text(relayed).await, RELAYED);
    for query in ["", "&from=2026-01-01T00:00:00Z", "&from=2025-06-01&to=2026-01-31"] {
        let query = page(&format!("?page_size=2&page_number=2{query}"));
        let cut = text(get(router.clone(), &query, &[]).await).await;
        let expected = "{\"page_number\":2,\"page_size\":2,\"total\":3,\"has_more\":false,\"data\":[";
        assert_eq!(cut, format!("{expected}{}]}}", ROWS[2]), "{query}");
    }
    let first = text(get(router, &page("?page_size=2"), &[]).await).await;
    assert!(first.starts_with("{\"page_number\":1,\"page_size\":2,\"has_more\":true,\"data\":["), "{first}");
}

#[tokio::test]
async fn repeats_upstreams_message_about_a_refused_key() {
    let key = format!("Bearer {BAD_KEY}");
    for query in ["", "?format=ndjson"] {
        let request = request(Method::GET, &all(query), &[("authorization", &key)]);
        let response = quiet().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let problem = body(response).await;
        assert_eq!(problem["code"], "upstream_denied");
        assert_eq!(problem["upstream"]["message"], "Forbidden");
    }
}
