//! Relayed pages.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bent::bent;
use super::*;
use crate::source::SourceError;

pub(super) fn relay_question(rig: &Rig) -> RelayQuestion {
    let question = rig.question();
    RelayQuestion {
        caller: question.caller,
        credential: question.credential,
        agent: question.agent,
        query: "page_size=50".to_owned(),
        canonical_query: "page_size=50".to_owned(),
        to: None,
        has_changing_filter: false,
        directives: CacheDirectives::default(),
        deadline: Instant::now() + 50 * SECOND,
        trace: Trace::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_relayed_page_is_served_stale_while_upstream_fails() {
    let is_down: Arc<AtomicBool> = Arc::default();
    let down = Arc::clone(&is_down);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.is_down = down;
        bent.set_relays(|_| Ok((Duration::ZERO, "{}")));
    })
    .with_history(400, 20);
    rig.rows(rig.question()).await;
    rig.engine.relay(relay_question(&rig)).await.unwrap();
    is_down.store(true, Ordering::Relaxed);
    pass(20 * SECOND).await;
    let began = Instant::now();
    let answer = rig.engine.relay(relay_question(&rig)).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stored_page_that_is_never_fresh_enough_is_read_again() {
    let rig = bent(settings(), |bent| bent.set_relays(|_| Ok((Duration::ZERO, "{\"data\":[]}"))));
    rig.engine.relay(relay_question(&rig)).await.unwrap();
    pass(SECOND).await;
    let directives = CacheDirectives { min_fresh: Some(Duration::MAX), ..CacheDirectives::default() };
    let relayed = rig.engine.relay(RelayQuestion { directives, ..relay_question(&rig) }).await.unwrap();
    assert_eq!(relayed.report.upstream_requests, 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_fetched_before_a_purge_does_not_replace_one_fetched_after_it() {
    let rig = bent(EngineSettings { live_ttl: 100 * SECOND, ..settings() }, |bent| {
        bent.set_relays(|number| Ok(if number <= 1 { (10 * SECOND, "old") } else { (20 * SECOND, "new") }));
    })
    .with_history(10, 2);
    rig.rows(Question { to: Some(NOW.minus(300 * DAY)), ..rig.question() }).await;
    let body = async |after: Duration| {
        tokio::time::sleep(after).await;
        rig.engine.relay(relay_question(&rig)).await.unwrap().body
    };
    let purge = async {
        tokio::time::sleep(SECOND).await;
        rig.engine.forget(rig.question().agent).await.unwrap();
    };
    let (first, (), second, third) =
        tokio::join!(body(Duration::ZERO), purge, body(2 * SECOND), body(12 * SECOND));
    assert_eq!((&*first, &*second, &*third), (&b"old"[..], &b"new"[..], &b"new"[..]));
    assert_eq!(&*body(30 * SECOND).await, b"new");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_page_names_a_budget_without_room_as_its_reason() {
    let is_full: Arc<AtomicBool> = Arc::default();
    let full = Arc::clone(&is_full);
    let rig = bent(EngineSettings { stale_if_error: 600 * SECOND, ..settings() }, |bent| {
        bent.set_relays(move |_| match full.load(Ordering::Relaxed) {
            true => Err(SourceError::RateLimited { retry_after: SECOND, upstream: None }),
            false => Ok((Duration::ZERO, "{}")),
        });
    });
    rig.engine.relay(relay_question(&rig)).await.unwrap();
    is_full.store(true, Ordering::Relaxed);
    pass(20 * SECOND).await;
    let relayed = rig.engine.relay(relay_question(&rig)).await.unwrap();
    assert_eq!(relayed.report.stale, Some(StaleReason::RateLimited));
    rig.close().await;
}
