//! Background work, which no caller waits for: bounded in number and time, and ended as soon as a stop
//! begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shutdown::Shutdown;

/// The most work that runs at once in the process. Further work is skipped; the next question tries again.
const MOST: usize = 64;

/// The time limit of one piece of work. The next question continues what is not done by then.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

/// Runs work in the background.
pub(super) struct Background {
    shutdown: Shutdown,
    places: Arc<Semaphore>,
}

/// The right to run one piece of work.
pub(super) struct BackgroundPlace {
    shutdown: Shutdown,
    permit: OwnedSemaphorePermit,
}

impl Background {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, places: Arc::new(Semaphore::new(MOST)) }
    }

    /// A permit, unless all are taken or the process is about to stop.
    pub(super) fn place(&self) -> Option<BackgroundPlace> {
        if self.shutdown.is_draining() {
            return None;
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(BackgroundPlace { shutdown: self.shutdown.clone(), permit })
    }
}

impl BackgroundPlace {
    /// Runs work until it is done, has taken [`LONGEST`], or a drain begins.
    pub(super) fn run(self, work: impl Future<Output = ()> + Send + 'static) {
        let Self { shutdown, permit } = self;
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            let _held = permit;
            tokio::select! {
                () = stop.drain_begun() => {}
                // Without an outcome either way.
                _ = tokio::time::timeout(LONGEST, work) => {}
            }
        });
    }
}
