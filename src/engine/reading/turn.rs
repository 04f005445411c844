use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Notify;

/// How a reading takes turns with the processes that share its tier.
#[derive(Debug, Default)]
pub(in crate::engine) struct ReadingTurn {
    /// Whether it waits while another process reads the same, and others wait for it.
    pub(in crate::engine) is_taken: bool,
    /// Whether it waits for those who take its rows, and reads nothing meanwhile.
    pub(in crate::engine) is_held_up: AtomicBool,
    /// Whether something of its span was taken over from another process.
    pub(in crate::engine) has_news: AtomicBool,
    /// Whether it let other processes read, because it was held up.
    pub(in crate::engine) is_given_up: AtomicBool,
    /// Wakes who takes turns for it: it would go on.
    pub(in crate::engine) wants_back: Notify,
    /// Wakes the reading: it may go on.
    pub(in crate::engine) is_back: Notify,
}

impl ReadingTurn {
    /// Notes that the reading is held up.
    pub(super) fn pause(&self) {
        self.is_held_up.store(true, Relaxed);
    }

    /// The reading may go on as far as its callers go. Waits until other processes that began to read meanwhile let it.
    pub(super) async fn resume(&self) {
        self.is_held_up.store(false, Relaxed);
        loop {
            let back = self.is_back.notified();
            if !self.is_given_up.load(Relaxed) {
                return;
            }
            self.wants_back.notify_one();
            back.await;
        }
    }
}
