use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::watch::pause_within;

/// What the client of one h2 stream reads of its response. The bytes of the connection can't show it, because they may
/// belong to other streams.
#[derive(Debug, Default)]
pub(super) struct StreamProgress {
    pieces: AtomicU64,
    is_waiting: AtomicBool,
}

tokio::task_local! {
    static CURRENT: Arc<StreamProgress>;
}

impl StreamProgress {
    /// Runs a stream in which [`Self::current`] returns this value.
    pub(super) fn scope<F: Future>(self: &Arc<Self>, stream: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), stream)
    }

    /// The value of the current stream; `None` on HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Records that the response has sent a piece.
    pub(super) fn sent(&self) {
        self.pieces.fetch_add(1, Relaxed);
        self.is_waiting.store(true, Relaxed);
    }

    /// Records that the response was polled again.
    pub(super) fn polled(&self) {
        self.is_waiting.store(false, Relaxed);
    }

    /// Returns when a piece has not been taken for this long.
    pub(super) async fn until_stalled(&self, limit: Duration) {
        let pause = pause_within(limit);
        let mut since = Instant::now();
        let mut before = 0;
        loop {
            tokio::time::sleep(pause).await;
            let pieces = self.pieces.load(Relaxed);
            if !self.is_waiting.load(Relaxed) || pieces != before {
                since = Instant::now();
                before = pieces;
            } else if since.elapsed() >= limit {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn stalls_within(stream: &StreamProgress, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), stream.until_stalled(LIMIT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_the_client_does_not_read_for_the_limit_is_a_stall() {
        let stream = StreamProgress::default();
        stream.sent();
        assert!(!stalls_within(&stream, 59).await);
        assert!(stalls_within(&stream, 76).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_with_nothing_ready_is_not_stalled() {
        let stream = StreamProgress::default();
        stream.sent();
        stream.polled();
        assert!(!stalls_within(&stream, 3600).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_stalled() {
        let stream = StreamProgress::default();
        let reading = async {
            for _ in 0..100 {
                stream.polled();
                stream.sent();
                tokio::time::sleep(Duration::from_secs(50)).await;
            }
        };
        tokio::select! {
            () = stream.until_stalled(LIMIT) => panic!("cut off"),
            () = reading => {}
        }
    }
}
