//! Several processes that share a tier.

use futures_util::future::join_all;

use super::test_tier::SharedTier;
use super::*;
use crate::tier::Tier as _;

impl Rig {
    /// Another process with the same upstream and tier.
    pub(super) fn replica(&self, settings: EngineSettings, process: usize) -> Self {
        let (store, shutdown) = (Arc::new(MapStore::default()), Shutdown::default());
        let source: Arc<dyn Source> = Arc::clone(&self.script) as _;
        let tier = self.tier.clone().map(|tier| Arc::new(SharedTier { tier, process }) as _);
        let kept: Arc<dyn Store> = Arc::clone(&store) as _;
        let engine = Engine::new(settings, BOUNDS, source, kept, tier, self.clock.clone(), shutdown.clone());
        let (script, clock, tier) = (Arc::clone(&self.script), self.clock.clone(), self.tier.clone());
        Self { engine, script, store, clock, shutdown, tier }
    }
}

/// Three processes that have read nothing yet.
fn replicas(settings: &EngineSettings, rows: u32) -> Vec<Rig> {
    let rig = Rig::with_tier(settings.clone(), 1).with_history(rows, 30);
    (0..3).map(|process| rig.replica(settings.clone(), process)).collect()
}

fn long_lived() -> EngineSettings {
    EngineSettings { live_ttl: 10 * SECOND, settling_ttl: 600 * SECOND, ..settings() }
}

async fn close(rigs: Vec<Rig>) {
    for rig in rigs {
        rig.close().await;
    }
}

/// Requests all rows and compares them with the list.
async fn ask(rig: &Rig) {
    assert_eq!(rig.rows(rig.question()).await, rig.truth(&rig.question()));
}

#[tokio::test(start_paused = true)]
async fn a_history_is_read_once_for_simultaneous_requests_to_all_processes() {
    let alone = Rig::new(long_lived(), 1).with_history(1_000, 30);
    ask(&alone).await;
    let once = alone.requests();
    alone.close().await;
    let rigs = replicas(&long_lived(), 1_000);
    join_all(rigs.iter().map(ask)).await;
    let requests = rigs[0].requests();
    assert!(requests <= once + 2 * rigs.len(), "{requests} requests instead of {once}");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn a_history_is_read_once_for_simultaneous_streams_of_all_processes() {
    let alone = Rig::new(long_lived(), 1).with_history(3_000, 30);
    alone.stream(alone.question()).await.unwrap();
    let once = alone.requests();
    alone.close().await;
    let rigs = replicas(&long_lived(), 3_000);
    for rows in join_all(rigs.iter().map(|rig| rig.stream(rig.question()))).await {
        assert_eq!(rows.unwrap(), rigs[0].truth(&rigs[0].question()));
    }
    let requests = rigs[0].requests();
    assert!(requests <= once + 3 * rigs.len(), "{requests} requests instead of {once}");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_accepted_for_one_process_needs_no_check_by_another_for_a_minute() {
    let rigs = replicas(&long_lived(), 200);
    let checks = || std::mem::take(&mut rigs[0].script.world().checks);
    ask(&rigs[0]).await;
    assert_eq!(checks(), 1);
    tokio::time::sleep(5 * SECOND).await;
    ask(&rigs[1]).await;
    assert_eq!(checks(), 0);
    tokio::time::sleep(120 * SECOND).await;
    ask(&rigs[2]).await;
    assert_eq!(checks(), 1);
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_every_process_polls_are_read_once() {
    let rigs = replicas(&long_lived(), 500);
    for rig in &rigs {
        ask(rig).await;
        tokio::time::sleep(SECOND).await;
    }
    rigs[0].requests();
    for second in 0..60 {
        ask(&rigs[second % rigs.len()]).await;
        tokio::time::sleep(SECOND).await;
    }
    let requests = rigs[0].requests();
    // One process alone would read the newest rows every ten seconds.
    assert!(requests <= 8, "{requests} requests");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_brought_is_known_everywhere() {
    let watch = async |rigs: &[Rig]| {
        for number in 1..200 {
            let status = if number % 20 == 0 { "in-progress" } else { "completed" };
            rigs[0].script.world().insert(NOW.minus(number * 20 * SECOND), status);
        }
        for rig in rigs {
            ask(rig).await;
        }
        rigs[0].requests();
        for second in 0..300 {
            ask(&rigs[second % rigs.len()]).await;
            tokio::time::sleep(SECOND).await;
        }
        rigs[0].requests()
    };
    let alone = Rig::new(long_lived(), 1).with_history(500, 30);
    let once = watch(std::slice::from_ref(&alone)).await;
    alone.close().await;
    let rigs = replicas(&long_lived(), 500);
    let requests = watch(&rigs).await;
    assert!(requests <= once + 2, "{requests} requests instead of {once}");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_due_costs_one_round_trip_to_the_tier() {
    let rigs = replicas(&long_lived(), 200);
    for rig in &rigs {
        ask(rig).await;
    }
    let looks = || std::mem::take(&mut *rigs[0].tier.as_ref().unwrap().loads.lock());
    tokio::time::sleep(15 * SECOND).await;
    looks();
    rigs[0].requests();
    ask(&rigs[1]).await;
    assert_eq!((looks(), rigs[0].requests()), (1, 1));
    ask(&rigs[1]).await;
    assert_eq!((looks(), rigs[0].requests()), (0, 0), "what is fresh needs no tier");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn every_process_sees_a_new_row_in_time() {
    let rigs = replicas(&long_lived(), 200);
    join_all(rigs.iter().map(ask)).await;
    for round in 0..10usize {
        let now = rigs[0].script.now();
        rigs[0].script.world().insert(now, "completed");
        tokio::time::sleep(11 * SECOND).await;
        // Rows within the commit lag are not saved, so new ones come with the next read.
        ask(&rigs[round % 3]).await;
        ask(&rigs[(round + 1) % 3]).await;
    }
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_in_its_turn_delays_others_for_seconds_only() {
    let rigs = replicas(&long_lived(), 1_000);
    ask(&rigs[0]).await;
    // Until the turns of this process have ended.
    tokio::time::sleep(5 * SECOND).await;
    let scope = rigs[0].engine.state.scopes.all()[0].tier_scope();
    let month = crate::domain::Span::new(NOW.minus(30 * DAY), NOW).unwrap();
    let tier = rigs[0].tier.clone().unwrap();
    assert!(SharedTier { tier, process: 9 }.take_turn(&scope, month, 0).await.is_mine);
    // The dead process never ends its turn. A request with `max-age=0` waits for that turn.
    let directives = CacheDirectives { max_age: Some(Duration::ZERO), ..CacheDirectives::default() };
    let question = Question { directives, ..rigs[1].question() };
    let before = Instant::now();
    assert_eq!(rigs[1].rows(question.clone()).await, rigs[1].truth(&question));
    let waited = before.elapsed();
    assert!((2 * SECOND..8 * SECOND).contains(&waited), "{waited:?}");
    close(rigs).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_one_process_does_not_delay_another_process() {
    let rigs = replicas(&long_lived(), 3_000);
    let mode = ResponseMode::Streamed { row_wait: 50 * SECOND };
    let mut slow = rigs[0].engine.ask(Question { mode, ..rigs[0].question() }).await.unwrap();
    let _first = slow.next().await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    let before = Instant::now();
    ask(&rigs[1]).await;
    assert!(before.elapsed() < 8 * SECOND, "{:?}", before.elapsed());
    drop(slow);
    close(rigs).await;
}
