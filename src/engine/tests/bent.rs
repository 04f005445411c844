//! Deviations of the scripted upstream, and helpers that several tests share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::script::unavailable;
use super::*;
use crate::domain::{Page, PageOf};
use crate::source::{RequestContext, SourceError, Subject};

pub(super) type Before = Box<dyn Fn(&Subject, PageOf, u64) -> Result<Duration, SourceError> + Send + Sync>;
pub(super) type Relays = Box<dyn Fn(u64) -> Result<(Duration, &'static str), SourceError> + Send + Sync>;
pub(super) type Served = Box<dyn Fn(PageOf) + Send + Sync>;
pub(super) type After = Box<dyn Fn(&mut Page) + Send + Sync>;

/// Hooks for requests: before a page (a refusal or a delay), when it is about to be served, and after.
pub(super) struct Bent {
    number: AtomicU64,
    pub(super) before: Before,
    pub(super) served: Served,
    pub(super) after: After,
    /// How long a request is in flight, once it has waited for the budget.
    pub(super) back: Before,
    /// While true, everything fails once the context's time for retries is over, as in the real source.
    pub(super) is_down: Arc<AtomicBool>,
    /// How long agent checks take, in addition to the latency.
    pub(super) check: Duration,
    /// How long a relayed page takes, and its body; without it, the body is the query.
    pub(super) relays: Option<Relays>,
    /// The number of requests that wait or are in flight.
    pub(super) asking: Arc<AtomicUsize>,
}

/// A request that waits or is in flight; no longer counted once it is answered or dropped.
pub(super) struct Asking(Arc<AtomicUsize>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Bent {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            before: Box::new(|_, _, _| Ok(Duration::ZERO)),
            served: Box::new(|_| {}),
            after: Box::new(|_| {}),
            back: Box::new(|_, _, _| Ok(Duration::ZERO)),
            is_down: Arc::default(),
            check: Duration::ZERO,
            relays: None,
            asking: Arc::default(),
        }
    }
}

impl Bent {
    pub(super) fn set_relays(
        &mut self,
        relays: impl Fn(u64) -> Result<(Duration, &'static str), SourceError> + Send + Sync + 'static,
    ) {
        self.relays = Some(Box::new(relays));
    }

    pub(super) fn begin(&self) -> Asking {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(Arc::clone(&self.asking))
    }

    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) async fn stays_up(&self, context: &RequestContext) -> Result<(), SourceError> {
        if !self.is_down.load(Ordering::Relaxed) {
            return Ok(());
        }
        tokio::time::sleep(context.retry_for).await;
        Err(unavailable())
    }
}

pub(super) fn bent(settings: EngineSettings, bend: impl FnOnce(&mut Bent)) -> Rig {
    let mut bent = Bent::default();
    bend(&mut bent);
    Rig::of(settings, 9, bent, None)
}

pub(super) fn ids(rows: &[(String, u32)]) -> HashSet<String> {
    rows.iter().map(|(id, _)| id.clone()).collect()
}

pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(1_000 * SECOND, work).await.expect("it ends")
}

pub(super) fn streamed(question: Question) -> Question {
    Question { mode: ResponseMode::Streamed { row_wait: 50 * SECOND }, ..question }
}

/// Runs a test that may spin without yielding, which no timeout of tokio's would end.
pub(super) fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test());
        let _sent = say.send(());
    });
    hear.recv_timeout(Duration::from_secs(10)).expect("it ends, and well");
}

/// An upstream whose pages after the second wait 40 s for the budget while `slow` is set.
pub(super) fn with_slow_pages(settings: EngineSettings, slow: &Arc<AtomicBool>) -> Rig {
    let slow = Arc::clone(slow);
    bent(settings, |bent| {
        bent.before = Box::new(move |_, page, _| {
            let is_slow = page.number > 2 && slow.load(Ordering::Relaxed);
            Ok(if is_slow { 40 * SECOND } else { Duration::ZERO })
        });
    })
}

/// A rig, and a switch that delays the next page.
pub(super) fn once_late(delay: Duration) -> (Rig, Arc<AtomicBool>) {
    let late: Arc<AtomicBool> = Arc::default();
    let switch = Arc::clone(&late);
    let rig = bent(settings(), |bent| {
        bent.back = Box::new(move |_, _, _| {
            Ok(if switch.swap(false, Ordering::Relaxed) { delay } else { Duration::ZERO })
        });
    });
    (rig, late)
}
