//! Answers from the index of rows whose bytes were evicted.

use super::*;

fn facts(question: Question) -> Question {
    Question { need: RowNeed::Facts, ..question }
}

/// An engine that read a history of several pages, and whose store then dropped all bytes.
async fn evicted() -> Rig {
    let rig = Rig::new(settings(), 1).with_history(600, 10);
    rig.rows(rig.question()).await;
    rig.evict();
    rig.requests();
    rig
}

#[tokio::test(start_paused = true)]
async fn requests_that_need_no_bytes_are_answered_from_the_index() {
    let rig = evicted().await;
    for directives in
        [CacheDirectives::default(), CacheDirectives { only_if_cached: true, ..CacheDirectives::default() }]
    {
        for question in [rig.question(), rig.status("completed"), rig.newest(0, 20), rig.newest(30, 500)] {
            let question = Question { directives, ..facts(question) };
            let answer = rig.engine.ask(question.clone()).await.unwrap();
            let verdict = answer.from_cache().unwrap().clone();
            let given: Vec<_> =
                answer.collect(u64::MAX).await.unwrap().slices.iter().flat_map(rows).collect();
            assert_eq!(given.len() as u64, verdict.count);
            let newest = question.newest.unwrap_or(Newest { skip: 0, take: u64::MAX });
            let truth = rig.truth(&question).into_iter().skip(newest.skip as usize);
            assert_eq!(given, truth.take(newest.take as usize).collect::<Vec<_>>());
        }
    }
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_index_says_the_same_as_the_rows() {
    let rig = Rig::new(settings(), 1).with_history(600, 10);
    let whole = rig.collect(rig.question()).await.unwrap().verdict;
    rig.evict();
    let bare = rig.collect(facts(rig.question())).await.unwrap().verdict;
    assert_eq!((bare.digest, bare.count, bare.total), (whole.digest, whole.count, whole.total));
    assert_eq!(bare.as_of, whole.as_of);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn evicted_rows_are_read_again_when_their_bytes_are_needed() {
    let rig = evicted().await;
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let cached = rig.collect(Question { directives, ..rig.question() }).await;
    assert!(matches!(cached, Err(AskError::NotCached)), "{cached:?}");
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
    assert!(rig.requests() >= 12);
    assert_eq!(rig.rows(rig.question()).await.len(), 600);
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_without_bytes_reads_only_the_head() {
    let rig = evicted().await;
    pass(5 * SECOND).await;
    rig.script.world().insert(rig.clock.now(), "queued");
    let question = facts(rig.question());
    let given: Vec<_> = rig.collect(question.clone()).await.unwrap().slices.iter().flat_map(rows).collect();
    assert_eq!(given, rig.truth(&question));
    assert_eq!(rig.requests(), 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_fetch_its_bytes_later() {
    let rig = evicted().await;
    for is_due in [false, true] {
        if is_due {
            pass(60 * SECOND).await;
        }
        for is_stream in [false, true] {
            let mode = if is_stream {
                ResponseMode::Streamed { row_wait: 50 * SECOND }
            } else {
                ResponseMode::Condensed { deadline: Instant::now() + 50 * SECOND }
            };
            rig.evict();
            let answer = rig.engine.ask(Question { mode, ..facts(rig.question()) }).await.unwrap();
            assert_eq!(answer.from_cache().is_some(), !is_due);
            let mut answer = answer.with_bytes().await.unwrap();
            let mut given = Vec::new();
            while let Some(slice) = answer.next().await.unwrap() {
                assert!(slice.entry.has_bytes());
                given.extend(rows(&slice));
            }
            assert_eq!(given, rig.truth(&rig.question()));
            pass(60 * SECOND).await;
            rig.rows(rig.question()).await;
            if is_due {
                pass(60 * SECOND).await;
            }
        }
    }
    rig.close().await;
}
