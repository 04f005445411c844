use super::*;

/// Responds to each connection's requests with the next of its responses, in order.
async fn scripted(connections: Vec<Vec<String>>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&format!("http://{}", listener.local_addr().unwrap()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        for answers in connections {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            open.spawn(async move {
                for answer in answers {
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = socket.read_u8().await else { return };
                        seen.push(byte);
                    }
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
                // Further requests here get no response.
                std::future::pending::<()>().await;
            });
        }
        std::future::pending::<()>().await;
    });
    Fake { upstream, _tasks: tasks }
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn page_of(number: u32, row: &str) -> String {
    answer(&format!("{{\"page_number\":{number},\"data\":[{row}],\"total\":99,\"has_more\":true}}"))
}

#[tokio::test]
async fn a_repeated_response_is_not_taken_for_the_next() {
    let (first, second) = (page_of(1, "{\"id\":\"a\"}"), page_of(2, "{\"id\":\"b\"}"));
    let third = page_of(3, "{\"id\":\"c\"}");
    // The second response to the first request arrives once the next request is under way, so only its
    // content reveals it. The repeated request uses a new connection, and later requests use a third one.
    let fake = scripted(vec![vec![first.clone(), first], vec![second], vec![third]]).await;
    for (number, id) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(fake.numbered(number, RETRY).await.unwrap().rows[0].id, *id);
    }
    assert_eq!(fake.upstream.readings().retries, 1);
}

#[tokio::test]
async fn requests_rows_of_another_agent_or_span_again() {
    let right = "{\"id\":\"a\",\"agent_id\":\"00000000-0000-0000-0000-000000000005\"}";
    for wrong in [
        "{\"id\":\"x\",\"agent_id\":\"00000000-0000-0000-0000-000000000006\"}",
        "{\"id\":\"x\",\"created_at\":\"2025-11-01T00:00:00\"}",
    ] {
        let fake = scripted(vec![vec![page_of(1, wrong)], vec![page_of(1, right)]]).await;
        assert_eq!(fake.page(RETRY).await.unwrap().rows[0].id, "a");
    }
}

#[tokio::test]
async fn a_response_to_another_request_does_not_prove_a_key() {
    let right =
        answer("{\"id\":\"00000000-0000-0000-0000-000000000005\",\"created_at\":\"2026-01-01T00:00:00\"}");
    for wrong in [page_of(1, ""), answer("{\"id\":\"00000000-0000-0000-0000-000000000006\"}")] {
        let fake = scripted(vec![vec![wrong], vec![right.clone()]]).await;
        let facts = fake.upstream.agent(&credential(), agent(), &context(RETRY)).await.unwrap();
        assert!(facts.created_at.is_some());
    }
}

#[tokio::test]
async fn unusual_page_numbers_cost_one_request() {
    let fake = fake(async |_, _| "{\"page_number\":0,\"data\":[],\"has_more\":false}".into_response()).await;
    for number in 1..=5 {
        assert!(fake.numbered(number, RETRY).await.is_ok());
    }
    assert_eq!(fake.requests(RequestOutcome::Ok), 6);
}

/// Requests a page with a caller's query.
async fn relay(fake: &Fake, query: &str) -> Result<RelayedPage, SourceError> {
    fake.upstream.relay(&credential(), agent(), query, &context(RETRY)).await
}

#[tokio::test]
async fn rows_of_another_agent_are_refused_at_every_attempt() {
    const ROW: &str = "{\"id\":\"x\",\"agent_id\":\"00000000-0000-0000-0000-000000000006\"}";
    let fake = fake(|_, request: Request| async move {
        let is_form = request.uri().query().is_some_and(|query| query.contains("form=other"));
        let list = if is_form { "executions" } else { "data" };
        format!("{{\"page_number\":1,\"{list}\":[{ROW}],\"has_more\":false}}").into_response()
    })
    .await;
    for _ in 0..3 {
        assert!(matches!(fake.page(RETRY).await, Err(SourceError::Malformed { .. })));
        for query in ["from=a&to=b&agent_id=6", "page_number=0", "form=other"] {
            let relayed = relay(&fake, query).await;
            assert!(matches!(relayed, Err(SourceError::Malformed { .. })), "{query}: {relayed:?}");
        }
    }
    // Each was requested twice.
    assert_eq!(fake.requests(RequestOutcome::Ok), 3 * 4 * 2);
}

#[tokio::test]
async fn a_callers_odd_query_disables_no_check() {
    let (zero, one, two) = (page_of(0, ""), page_of(1, "{\"id\":\"a\"}"), page_of(2, "{\"id\":\"b\"}"));
    // Whatever page the caller requests, page 0 arrives, twice. Then the gateway requests page 2 and receives
    // page 1, which belongs to another request.
    let fake = scripted(vec![vec![zero.clone(), one], vec![zero], vec![two]]).await;
    assert_eq!(relay(&fake, "page_number=7").await.unwrap().page.unwrap().rows.len(), 0);
    assert_eq!(fake.numbered(2, RETRY).await.unwrap().rows[0].id, "b");
    assert_eq!(fake.upstream.readings().retries, 2);
}

#[tokio::test]
async fn a_callers_odd_query_keeps_the_shared_connections() {
    let (zero, one) = (page_of(0, ""), page_of(1, ""));
    // All requests but the caller's second attempt use the first connection.
    let fake = scripted(vec![vec![one.clone(), zero.clone(), one], vec![zero]]).await;
    assert!(fake.numbered(1, NEVER).await.is_ok());
    assert!(relay(&fake, "page_number=7").await.is_ok());
    assert!(fake.numbered(1, NEVER).await.is_ok());
}

#[tokio::test]
async fn retries_an_undefined_status_once() {
    let fake = scripted(vec![
        vec!["HTTP/1.1 700 Odd\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()],
        vec![answer(PAGE)],
    ])
    .await;
    assert_eq!(fake.page(RETRY).await.unwrap().rows.len(), 1);
}
