//! The scripted upstream, bent where a test wants it bent, and what tests of it share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::script::unavailable;
use super::*;
use crate::domain::{AgentFacts, Caller, Page, PageOf};
use crate::source::{RelayedPage, RequestContext, SourceError, Subject, Urgency};

pub(super) type Before = Box<dyn Fn(&Subject, PageOf, u64) -> Result<Duration, SourceError> + Send + Sync>;
pub(super) type Relays = Box<dyn Fn(u64) -> Result<(Duration, &'static str), SourceError> + Send + Sync>;
pub(super) type Served = Box<dyn Fn(PageOf) + Send + Sync>;
pub(super) type After = Box<dyn Fn(&mut Page) + Send + Sync>;

/// The script, bent: before a page (refuse or delay it), when it is about to be served, and after.
pub(super) struct Bent {
    pub(super) script: Arc<Script>,
    pub(super) number: AtomicU64,
    pub(super) before: Before,
    pub(super) served: Served,
    pub(super) after: After,
    /// How long a request is under way, once it has waited for the budget.
    pub(super) back: Before,
    /// While true, everything fails after as long as the turn allows retries, as the real source does.
    pub(super) is_down: Arc<AtomicBool>,
    /// Agent checks take so long.
    pub(super) check: Duration,
    /// How long a relayed page takes, and what is in it.
    pub(super) relays: Relays,
    /// How many requests are waiting or under way.
    pub(super) asking: Arc<AtomicUsize>,
}

/// A request that waits or is under way; counted out when it is answered or dropped.
struct Asking(Arc<AtomicUsize>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bent {
    fn begin(&self) -> Asking {
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(Arc::clone(&self.asking))
    }

    fn page_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    async fn down<T>(&self, context: &RequestContext) -> Option<Result<T, SourceError>> {
        if !self.is_down.load(Ordering::Relaxed) {
            return None;
        }
        tokio::time::sleep(context.retry_for).await;
        Some(Err(unavailable()))
    }
}

impl Source for Bent {
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Page, SourceError>> {
        Box::pin(async move {
            let _asking = self.begin();
            if let Some(failed) = self.down(context).await {
                return failed;
            }
            let number = self.page_number();
            let delay = (self.before)(subject, page, number)?;
            let back = (self.back)(subject, page, number)?;
            if !delay.is_zero() {
                let _waits = context.budget_clock.wait();
                tokio::time::sleep(delay).await;
            }
            let _goes = context.budget_clock.go();
            (self.served)(page);
            let mut page = self.script.page(subject, page, context).await?;
            if !back.is_zero() {
                tokio::time::sleep(back).await;
            }
            (self.after)(&mut page);
            Ok(page)
        })
    }

    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<AgentFacts, SourceError>> {
        Box::pin(async move {
            let _asking = self.begin();
            if let Some(failed) = self.down(context).await {
                return failed;
            }
            let left = context.deadline.as_ref().map_or(DAY, |d| d.instant() - Instant::now());
            if left < self.check {
                tokio::time::sleep(left).await;
                return Err(SourceError::TimedOut);
            }
            tokio::time::sleep(self.check).await;
            self.script.agent(credential, agent, context).await
        })
    }

    fn agents<'a>(
        &'a self,
        credential: &'a Credential,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Vec<(AgentId, AgentFacts)>, SourceError>> {
        self.script.agents(credential, context)
    }

    fn user<'a>(
        &'a self,
        credential: &'a Credential,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            let _asking = self.begin();
            self.script.user(credential, context).await
        })
    }

    fn relay<'a>(
        &'a self,
        _: &'a Credential,
        _: AgentId,
        _: &'a str,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<RelayedPage, SourceError>> {
        Box::pin(async move {
            let _asking = self.begin();
            if let Some(failed) = self.down(context).await {
                return failed;
            }
            let (delay, body) = (self.relays)(self.page_number())?;
            tokio::time::sleep(delay).await;
            let page = Page { rows: Vec::new(), has_more: false, total: None };
            Ok(RelayedPage { body: body.into(), page: Some(page) })
        })
    }

    fn room_for(
        &self,
        credential: CredentialId,
        caller: Caller,
        urgency: Urgency,
        requests: u64,
    ) -> Duration {
        self.script.room_for(credential, caller, urgency, requests)
    }

    fn clock_ahead_micros(&self) -> i64 {
        self.script.clock_ahead_micros()
    }
}

pub(super) fn bent(settings: EngineSettings, bend: impl FnOnce(&mut Bent)) -> Rig {
    let clock = Clock::showing(NOW);
    let script = Arc::new(Script::new(clock.clone(), 9));
    let (store, shutdown) = (Arc::new(MapStore::default()), Shutdown::default());
    let mut source = Bent {
        script: Arc::clone(&script),
        number: AtomicU64::new(0),
        before: Box::new(|_, _, _| Ok(Duration::ZERO)),
        served: Box::new(|_| {}),
        after: Box::new(|_| {}),
        back: Box::new(|_, _, _| Ok(Duration::ZERO)),
        is_down: Arc::default(),
        check: Duration::ZERO,
        relays: Box::new(|_| Ok((Duration::ZERO, "{}"))),
        asking: Arc::default(),
    };
    bend(&mut source);
    let engine =
        Engine::new(settings, Arc::new(source), Arc::clone(&store) as _, clock.clone(), shutdown.clone());
    Rig { engine, script, store, clock, shutdown, tier: None }
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

/// Runs a test that may spin without ever yielding: no clock of tokio's ends that.
pub(super) fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test());
        let _told = say.send(());
    });
    hear.recv_timeout(Duration::from_secs(10)).expect("it ends, and well");
}

/// Pages after the second take so long.
pub(super) fn with_slow_pages(settings: EngineSettings, slow: &Arc<AtomicBool>) -> Rig {
    let slow = Arc::clone(slow);
    bent(settings, |bent| {
        bent.before = Box::new(move |_, page, _| {
            let is_slow = page.number > 2 && slow.load(Ordering::Relaxed);
            Ok(if is_slow { 40 * SECOND } else { Duration::ZERO })
        });
    })
}
