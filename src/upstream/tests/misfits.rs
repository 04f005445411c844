use super::*;

/// Answers each connection's requests with the next of its answers, in order.
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
                // Whatever else is asked here is never answered.
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
async fn an_answer_that_comes_twice_is_not_taken_for_the_next_ones() {
    let (first, second) = (page_of(1, "{\"id\":\"a\"}"), page_of(2, "{\"id\":\"b\"}"));
    let third = page_of(3, "{\"id\":\"c\"}");
    // The second answer to the first request comes once the next one is under way, when nothing but itself tells it.
    // What is asked again has a connection of its own, and what follows a third one.
    let fake = scripted(vec![vec![first.clone(), first], vec![second], vec![third]]).await;
    for (number, id) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(&*fake.numbered(number, RETRY).await.unwrap().rows[0].id, id);
    }
    assert_eq!(fake.upstream.stats().retries, 1);
}

#[tokio::test]
async fn rows_of_another_agent_or_another_time_are_asked_for_again() {
    let right = "{\"id\":\"a\",\"agent_id\":\"00000000-0000-0000-0000-000000000005\"}";
    for wrong in [
        "{\"id\":\"x\",\"agent_id\":\"00000000-0000-0000-0000-000000000006\"}",
        "{\"id\":\"x\",\"created_at\":\"2025-11-01T00:00:00\"}",
    ] {
        let fake = scripted(vec![vec![page_of(1, wrong)], vec![page_of(1, right)]]).await;
        assert_eq!(&*fake.page(RETRY).await.unwrap().rows[0].id, "a");
    }
}

#[tokio::test]
async fn a_key_is_not_let_in_by_an_answer_to_another_question() {
    let right =
        answer("{\"id\":\"00000000-0000-0000-0000-000000000005\",\"created_at\":\"2026-01-01T00:00:00\"}");
    for wrong in [page_of(1, ""), answer("{\"id\":\"00000000-0000-0000-0000-000000000006\"}")] {
        let fake = scripted(vec![vec![wrong], vec![right.clone()]]).await;
        let facts = fake.upstream.agent(&credential(), agent(), &turn(RETRY)).await.unwrap();
        assert!(facts.created_at.is_some());
    }
}

#[tokio::test]
async fn a_number_that_is_upstreams_own_costs_one_request() {
    let fake = fake(async |_, _| "{\"page_number\":0,\"data\":[],\"has_more\":false}".into_response()).await;
    for number in 1..=5 {
        assert!(fake.numbered(number, RETRY).await.is_ok());
    }
    assert_eq!(fake.upstream.stats().requests(RequestOutcome::Ok), 6);
}

#[tokio::test]
async fn a_status_that_means_nothing_is_asked_for_once_more() {
    let fake = scripted(vec![
        vec!["HTTP/1.1 700 Odd\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()],
        vec![answer(PAGE)],
    ])
    .await;
    assert_eq!(fake.page(RETRY).await.unwrap().rows.len(), 1);
}
