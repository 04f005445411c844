use super::*;

#[tokio::test]
async fn dead_idle_connections_do_not_open_the_breaker() {
    const OK: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\nconnection: close\r\n\r\n{\"data\":[],\"has_more\":false}";
    // More failures than open the breaker for a single agent.
    const DEAD: usize = 25;
    const ANSWERS: [&[u8]; 2 * DEAD] = {
        let mut answers: [&[u8]; 2 * DEAD] = [b""; 2 * DEAD];
        let mut at = DEAD;
        while at < 2 * DEAD {
            answers[at] = OK;
            at += 1;
        }
        answers
    };
    let fake = Arc::new(raw(&ANSWERS).await);
    let mut pages = JoinSet::new();
    for _ in 0..DEAD {
        let fake = Arc::clone(&fake);
        pages.spawn(async move { fake.page(RETRY).await.is_ok() });
    }
    assert!(pages.join_all().await.into_iter().all(|is_read| is_read));
    assert_eq!(fake.upstream.readings().rejected, 0);
    assert!(fake.requests(RequestOutcome::Broken) >= DEAD as u64);
}

#[tokio::test]
async fn replaces_a_connection_that_dies_before_its_response() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 28\r\n\r\n{\"data\":[],\"has_more\":false}";
    let fake = raw(&[b"", OK]).await;
    assert!(fake.page(RETRY).await.unwrap().rows.is_empty());
    assert_eq!(fake.upstream.readings().retries, 1);
}

#[tokio::test]
async fn a_truncated_body_is_never_a_page() {
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"data\":[],\"has_more\":false}";
    let fake = raw(&[CUT]).await;
    assert!(matches!(fake.page(NEVER).await, Err(SourceError::Unavailable { .. })));
    assert_eq!(fake.requests(RequestOutcome::Broken), 1);
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fake = Fake { upstream: upstream(&base), _tasks: JoinSet::new() };
    assert!(matches!(fake.page(NEVER).await, Err(SourceError::Unavailable { .. })));
    assert_eq!(fake.requests(RequestOutcome::Unreachable), 1);
}

#[test]
fn unusable_root_certificates_are_a_setup_error() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let settings =
            UpstreamSettings { ca_pem: Some(pem.into()), ..upstream("https://h").settings.clone() };
        assert!(matches!(
            Upstream::new(settings, RequestWatch::default(), SteadyClock::from_wall(), None),
            Err(UpstreamSetupError::Ca(_) | UpstreamSetupError::Client(_))
        ));
    }
}
