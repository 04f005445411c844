//! Rows in a tier: after restarts, after evictions, and despite the tier's own faults.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::tier::{Tier, Voided};

/// Long enough for everything to be saved.
const SAVING: Duration = Duration::from_secs(15);

impl Rig {
    /// The same gateway after a crash: a new process with the same upstream and tier.
    pub(super) fn restarted(self, settings: EngineSettings) -> Self {
        let store = Arc::new(MapStore::default());
        let shutdown = Shutdown::default();
        let source: Arc<dyn Source> = Arc::clone(&self.script) as _;
        let tier = self.tier.clone().map(|tier| tier as _);
        let engine = Engine::new(
            settings,
            BOUNDS,
            source,
            Arc::clone(&store) as _,
            tier,
            self.clock.clone(),
            shutdown.clone(),
        );
        // Ends the work of the old process.
        self.shutdown.end();
        Self { engine, store, shutdown, ..self }
    }

    /// Requests all rows and compares them with the list. Returns the number of requests.
    async fn requests_for_all_rows(&self) -> usize {
        assert_eq!(self.rows(self.question()).await, self.truth(&self.question()));
        self.requests()
    }

    fn tier(&self) -> &TestTier {
        self.tier.as_ref().unwrap()
    }
}

fn long_lived() -> EngineSettings {
    EngineSettings { live_ttl: 60 * SECOND, settling_ttl: 600 * SECOND, ..settings() }
}

async fn rig() -> Rig {
    let rig = Rig::with_tier(long_lived(), 1).with_history(1_000, 30);
    assert!(rig.requests_for_all_rows().await >= 20);
    rig
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_only_the_head_is_read() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    // Filters and narrower spans are served from the restored rows.
    let status = rig.status("completed");
    assert_eq!(rig.rows(status.clone()).await, rig.truth(&status));
    let from = Some(NOW.minus(20 * DAY));
    let part = Question { from, to: Some(NOW.minus(10 * DAY)), ..rig.question() };
    assert_eq!(rig.rows(part.clone()).await, rig.truth(&part));
    assert_eq!(rig.requests(), 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_saves_rows_that_were_just_read() {
    let rig = rig().await;
    rig.shutdown.drain();
    rig.shutdown.finished().await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_store_dropped_are_restored_from_the_tier() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    for way in 0..3 {
        rig.evict();
        let rows = match way {
            0 => rig.rows(rig.question()).await,
            1 => rig.stream(rig.question()).await.unwrap(),
            _ => rig.rows(rig.newest(0, 120)).await,
        };
        let truth = rig.truth(&rig.question());
        assert_eq!(rows, truth[..rows.len()]);
        assert_eq!((rows.len(), rig.requests()), (if way == 2 { 120 } else { 1_000 }, 0));
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_tier_lost_are_read_again() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    rig.tier().lose_rows(|key| key.number % 2 == 0);
    let rig = rig.restarted(long_lived());
    let again = rig.requests_for_all_rows().await;
    assert!((8..=24).contains(&again), "{again} requests");
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn purged_rows_are_not_restored() {
    let rig = rig().await;
    tokio::time::sleep(SAVING).await;
    rig.engine.forget(rig.question().agent).await.unwrap();
    let again = rig.requests_for_all_rows().await;
    assert!(again >= 20, "{again} requests");
    let rig = rig.restarted(long_lived());
    // Nothing has been saved since the purge.
    assert!(rig.requests_for_all_rows().await >= 20);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_another_process_purges_are_dropped_within_a_second() {
    let rig = rig().await;
    let marked = rig.tier().void(Voided::Agent(rig.question().agent), rig.clock.now()).await;
    assert_eq!(marked, Ok(()));
    tokio::time::sleep(SECOND).await;
    assert!(rig.requests_for_all_rows().await >= 20);
    // Rows read since then stay.
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(rig.requests_for_all_rows().await, 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn rows_that_a_full_tier_refused_are_saved_later() {
    let rig = rig().await;
    rig.tier().is_full.store(true, Relaxed);
    let new = rig.script.now().minus(SECOND);
    rig.script.world().insert(new, "completed");
    tokio::time::sleep(70 * SECOND).await;
    assert!(rig.requests_for_all_rows().await <= 2);
    rig.tier().is_full.store(false, Relaxed);
    tokio::time::sleep(SAVING).await;
    let rig = rig.restarted(long_lived());
    assert!(rig.requests_for_all_rows().await <= 1);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_known_scope_is_not_loaded_from_the_tier_again() {
    let rig = rig().await;
    let asked = *rig.tier().loads.lock();
    for question in [rig.question(), rig.status("completed"), rig.statuses(&["busy", "failed"])] {
        let _ = rig.rows(question.clone()).await;
        let first = *rig.tier().loads.lock();
        assert!(first <= asked + 1, "once for a scope that is new");
        let _ = rig.rows(question).await;
        assert_eq!(*rig.tier().loads.lock(), first);
    }
    rig.close().await;
}
