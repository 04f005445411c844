use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Counts the flushes of a connection, and requests one when a response needs it.
///
/// A body that is about to fail waits here until the socket has taken everything before the failure, because the HTTP library
/// drops its buffer along with the connection or stream. The connection's task flushes each time it is polled, so waking it
/// is enough to get a flush.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    done: AtomicU64,
    connection: AtomicWaker,
    waiting: Mutex<Vec<(u64, Waker)>>,
}

impl Flushes {
    /// Records that the connection's task flushes, so that it can be woken to flush again.
    pub(super) fn begin(&self, cx: &Context<'_>) {
        self.connection.register(cx.waker());
    }

    /// Records that a flush is done: the socket has everything that the connection held when the flush began.
    pub(super) fn end(&self) {
        let done = self.done.fetch_add(1, SeqCst) + 1;
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        waiting.extract_if(.., |(wanted, _)| *wanted <= done).for_each(|(_, waker)| waker.wake());
        if !waiting.is_empty() {
            self.connection.wake();
        }
    }

    /// The number of the first flush that certainly covers everything handed over before this call. The next one doesn't: it
    /// may already be under way, because HTTP/2 streams run concurrently with their connection's task.
    pub(super) fn next(&self) -> u64 {
        self.done.load(SeqCst) + 2
    }

    /// Waits for the flush of this number.
    pub(super) fn poll(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        if self.done.load(SeqCst) >= number {
            return Poll::Ready(());
        }
        waiting.push((number, cx.waker().clone()));
        drop(waiting);
        self.connection.wake();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct CountedWakes(AtomicUsize);

    impl ArcWake for CountedWakes {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn ignores_a_flush_that_may_already_be_under_way() {
        let flushes = Flushes::default();
        let (connection, body) = (Arc::new(CountedWakes::default()), Arc::new(CountedWakes::default()));
        let (of_connection, of_body) = (waker(Arc::clone(&connection)), waker(Arc::clone(&body)));
        let flush = || {
            flushes.begin(&Context::from_waker(&of_connection));
            flushes.end();
        };
        flush();
        let number = flushes.next();
        assert!(flushes.poll(number, &Context::from_waker(&of_body)).is_pending());
        assert_eq!(connection.0.load(SeqCst), 1, "the connection is woken to flush");
        flush();
        assert!(flushes.poll(number, &Context::from_waker(&of_body)).is_pending());
        assert_eq!(
            (connection.0.load(SeqCst), body.0.load(SeqCst)),
            (2, 0),
            "the connection is woken to flush again"
        );
        flush();
        assert!(flushes.poll(number, &Context::from_waker(&of_body)).is_ready());
        assert_eq!(body.0.load(SeqCst), 2, "the body is woken once for each wait");
    }
}
