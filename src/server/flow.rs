use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::heads::Heads;

/// What one connection does, as its socket and its answers note it.
///
/// The numbers are read apart from each other and a moment late; the watch over them looks for what stays the same
/// for seconds.
#[derive(Debug)]
pub(super) struct ConnectionFlow {
    began: Instant,
    heads: Arc<Heads>,
    /// Bytes of an unfinished head, as they are counted among all.
    head: AtomicUsize,
    /// When the last answer ended, in milliseconds since the beginning.
    idle_from: AtomicU64,
    is_shed: AtomicBool,
    shed: Notify,
    written: AtomicU64,
    requests: AtomicU64,
    answering: AtomicUsize,
    waiting: AtomicUsize,
    is_blocked: AtomicBool,
    has_head_begun: AtomicBool,
    /// Pieces of answers given so far, and how many of them the socket has certainly taken.
    given: AtomicU64,
    flushed: AtomicU64,
    flush_wakers: Mutex<Vec<Waker>>,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing yet.
    Silent,
    /// HTTP/1: whatever it sends between requests is a request's head.
    Http1,
    /// HTTP/2: what it sends between requests may be pings and window updates.
    Http2,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Something is ready, and the client does not take it.
    Giving,
    /// An answer is being made.
    Making,
    /// A request's head has begun and not ended.
    Hearing,
    /// No request is there.
    Idle,
}

/// How far a connection has come: what must change for it to have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionProgress {
    /// Bytes given to the socket.
    pub(super) written: u64,
    /// Requests begun.
    pub(super) requests: u64,
}

impl ConnectionFlow {
    /// That of a new connection, whose unfinished heads count among these.
    pub(super) fn new(heads: Arc<Heads>) -> Self {
        Self {
            began: Instant::now(),
            heads,
            head: AtomicUsize::new(0),
            idle_from: AtomicU64::new(0),
            is_shed: AtomicBool::new(false),
            shed: Notify::new(),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            has_head_begun: AtomicBool::new(false),
            given: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            flush_wakers: Mutex::default(),
        }
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        self.is_blocked.store(false, Relaxed);
    }

    /// The socket takes no more.
    pub(super) fn blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    /// The client sent bytes: without a request under way, of a request's head, or of h2's own. Whether there is room for
    /// them.
    pub(super) fn heard(&self, bytes: usize, protocol: Protocol) -> bool {
        if self.answering.load(Relaxed) > 0 {
            return true;
        }
        if protocol == Protocol::Http1 {
            self.has_head_begun.store(true, Relaxed);
        }
        // Only the connection's own task reads and parses, so nobody changes it meanwhile.
        let counted = self.heads.grow(self.head.load(Relaxed), bytes);
        counted.inspect(|&counted| self.head.store(counted, Relaxed)).is_some()
    }

    /// A request's head is whole, its answer begins.
    pub(super) fn answer_begun(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.answering.fetch_add(1, Relaxed);
        self.has_head_begun.store(false, Relaxed);
        self.heads.release(self.head.swap(0, Relaxed));
    }

    /// An answer has given all it has, or was dropped.
    pub(super) fn answer_ended(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_from.store(since, Relaxed);
        self.answering.fetch_sub(1, Relaxed);
    }

    /// Whether there is no request.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state(), ConnectionState::Idle | ConnectionState::Hearing)
    }

    /// Since when there has been no request; none if there is one, or if it is told to close already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.is_idle() && !self.is_shed.load(Relaxed))
            .then(|| self.began + Duration::from_millis(self.idle_from.load(Relaxed)))
    }

    /// Others need its place more.
    pub(super) fn shed(&self) {
        self.is_shed.store(true, Relaxed);
        self.shed.notify_one();
    }

    /// Returns when others need its place more.
    pub(super) async fn until_shed(&self) {
        self.shed.notified().await;
    }

    /// An answer gave bytes and was not asked for more since.
    pub(super) fn wait_begun(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// It was asked for more.
    pub(super) fn wait_ended(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// An answer gave a piece; its number.
    pub(super) fn gave(&self) -> u64 {
        self.given.fetch_add(1, SeqCst) + 1
    }

    /// Nothing that was given waits in front of the socket any more.
    pub(super) fn flushed(&self) {
        let given = self.given.load(SeqCst);
        if self.flushed.swap(given, SeqCst) != given {
            let wakers =
                std::mem::take(&mut *self.flush_wakers.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready once the socket has taken the piece of this number.
    pub(super) fn poll_flushed(&self, piece: u64, cx: &Context<'_>) -> Poll<()> {
        if self.flushed.load(SeqCst) >= piece {
            return Poll::Ready(());
        }
        self.flush_wakers.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        // It may have been taken between the two.
        if self.flushed.load(SeqCst) >= piece { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What the connection is at.
    pub(super) fn state(&self) -> ConnectionState {
        if self.is_blocked.load(Relaxed) || self.waiting.load(Relaxed) > 0 {
            ConnectionState::Giving
        } else if self.answering.load(Relaxed) > 0 {
            ConnectionState::Making
        } else if self.has_head_begun.load(Relaxed) {
            ConnectionState::Hearing
        } else {
            ConnectionState::Idle
        }
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> ConnectionProgress {
        ConnectionProgress { written: self.written.load(Relaxed), requests: self.requests.load(Relaxed) }
    }
}

impl Drop for ConnectionFlow {
    fn drop(&mut self) {
        self.heads.release(*self.head.get_mut());
    }
}
