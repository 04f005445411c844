//! One limit for the memory that collected responses hold.

use super::*;

/// An engine with this much memory for collected responses, and a history of 1,000 rows.
fn bounded(responses: u64) -> Rig {
    let rig = Rig::new(settings(), 1).with_history(1_000, 20);
    let bounds = MemoryBounds { responses, ..BOUNDS };
    let source: Arc<dyn Source> = Arc::clone(&rig.script) as _;
    let store = Arc::clone(&rig.store) as _;
    let engine =
        Engine::new(settings(), bounds, source, store, None, rig.clock.clone(), rig.shutdown.clone());
    Rig { engine, ..rig }
}

fn by(rig: &Rig, caller: u8) -> Question {
    Question { caller: Caller::of_key(CredentialId::new([caller; 16])), ..rig.question() }
}

/// A request for one day of the history, so that no two answers hold the same rows.
fn days_ago(rig: &Rig, caller: u8, day: u32) -> Question {
    Question {
        from: Some(NOW.minus((day + 1) * DAY)),
        to: Some(NOW.minus(day * DAY).previous()),
        ..by(rig, caller)
    }
}

#[tokio::test(start_paused = true)]
async fn collected_answers_are_refused_while_others_hold_all_the_memory() {
    let rig = bounded(60_000);
    let (mut unread, mut refused) = (Vec::new(), 0);
    for day in 0..20 {
        match rig.collect(days_ago(&rig, day as u8, day)).await {
            Ok(collected) => unread.push(collected),
            Err(AskError::NoMemory(MemoryLimit::AllTaken(60_000))) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(unread.len() > 3 && refused > 3, "{} unread, {refused} refused", unread.len());
    assert!(rig.engine.response_bytes() <= 60_000);
    // Rows that another response already holds cost nothing more.
    let again = rig.collect(days_ago(&rig, 99, 0)).await;
    assert!(again.is_ok(), "{again:?}");
    drop((unread, again));
    assert_eq!(rig.engine.response_bytes(), 0);
    assert!(rig.collect(days_ago(&rig, 1, 19)).await.is_ok());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_caller_does_not_take_all_the_memory() {
    let rig = bounded(60_000);
    let mut unread = Vec::new();
    let limit = loop {
        match rig.collect(days_ago(&rig, 1, unread.len() as u32)).await {
            Ok(collected) => unread.push(collected),
            Err(AskError::NoMemory(limit)) => break limit,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(limit, MemoryLimit::ShareTaken(30_000));
    assert!(rig.collect(days_ago(&rig, 2, 19)).await.is_ok());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_known_rows_takes_them_one_by_one_if_memory_is_short() {
    // Room for some of the rows, not for all.
    let rig = bounded(100_000);
    assert!(matches!(rig.collect(rig.question()).await, Err(AskError::NoMemory(MemoryLimit::TooLarge(_)))));
    assert_eq!(rig.stream(rig.question()).await.unwrap().len(), 1_000);
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let known = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    assert!(known.from_cache().is_none());
    drop(known);
    assert_eq!(rig.engine.response_bytes(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_streams_read_ahead_leaves_memory_for_comparisons() {
    let rig = bounded(100_000);
    assert_eq!(rig.stream(rig.question()).await.unwrap().len(), 1_000);
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let known = rig.engine.ask(Question { mode, ..rig.question() }).await.unwrap();
    assert!(rig.engine.response_bytes() >= 50_000);
    assert_eq!(known.new_held().hold_alone(5_000), Ok(()));
    drop(known);
    rig.close().await;
}
