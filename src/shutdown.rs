//! Tracks the work that a stopping process waits for, and signals it to end.
//!
//! Shared work is spawned here, where a drain can see it. Private work is awaited by its caller.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns shared work, and signals it when the process stops. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    tasks: TaskTracker,
    leaving: CancellationToken,
    draining: CancellationToken,
    ended: CancellationToken,
    ends_at: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// Runs a task that outlives its caller; [`Self::finished`] waits for it.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tasks.track_future(work));
    }

    /// Fails readiness, so that load balancers send no more requests here. Everything is still served.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Whether readiness fails, because the process is about to stop or stopping.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled() || self.is_draining()
    }

    /// Begins to drain: work in progress finishes, and nothing new is accepted.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Begins to drain, and sets when the drain will be over.
    pub fn drain_until(&self, ends_at: Instant) {
        let _first_counts = self.ends_at.set(ends_at);
        self.drain();
    }

    /// When the drain will be over; `None` before it has begun.
    pub fn ends_at(&self) -> Option<Instant> {
        self.ends_at.get().copied()
    }

    /// The same shutdown for a part of the work, which [`Self::end_part`] ends before the rest.
    pub fn part(&self) -> Self {
        Self { ended: self.ended.child_token(), ..self.clone() }
    }

    /// Ends the work of this part, or all work if this is not a part.
    pub fn end_part(&self) {
        self.ended.cancel();
    }

    /// Ends everything that still runs.
    pub fn end(&self) {
        self.draining.cancel();
        self.ended.cancel();
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Returns when the drain begins.
    pub async fn drain_begun(&self) {
        self.draining.cancelled().await;
    }

    /// Returns when everything that still runs has to end.
    pub async fn end_ordered(&self) {
        self.ended.cancelled().await;
    }

    /// Whether everything that still runs has to end.
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns when every task has finished. Call it after [`Self::drain`] or [`Self::end`].
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The number of running tasks.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }
}
