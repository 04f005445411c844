use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::flushes::Flushes;
use super::heads::Heads;

/// What one connection does, as recorded by its socket and its responses.
///
/// Its values are read one by one, without a lock. That is consistent enough, because the watch looks for values that stay the
/// same for seconds.
#[derive(Debug)]
pub(super) struct ConnectionFlow {
    began: Instant,
    heads: Arc<Heads>,
    /// Bytes of an unfinished head, as counted in the listener's total.
    head: AtomicUsize,
    /// When the last response ended, in milliseconds since the connection began.
    idle_from: AtomicU64,
    shed: CancellationToken,
    written: AtomicU64,
    requests: AtomicU64,
    responding: AtomicUsize,
    waiting: AtomicUsize,
    is_blocked: AtomicBool,
    has_head_begun: AtomicBool,
    flushes: Flushes,
}

/// The protocol that a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Unknown: the client has sent nothing yet.
    Unknown,
    /// HTTP/1: everything that the client sends between requests is a request's head.
    Http1,
    /// HTTP/2: the client may send pings and window updates between requests.
    Http2,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Bytes are ready, and the client does not read them.
    Sending,
    /// A response is being produced.
    Responding,
    /// A request's head is incomplete.
    ReadingHead,
    /// There is no request.
    Idle,
}

/// How far a connection has come. Two equal values mean that nothing happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionProgress {
    /// Bytes that the socket has taken.
    pub(super) written: u64,
    /// Requests whose heads were complete.
    pub(super) requests: u64,
}

impl ConnectionFlow {
    /// The flow of a new connection. Its unfinished heads count in `heads`.
    pub(super) fn new(heads: Arc<Heads>) -> Self {
        Self {
            began: Instant::now(),
            heads,
            head: AtomicUsize::new(0),
            idle_from: AtomicU64::new(0),
            shed: CancellationToken::new(),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            responding: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            has_head_begun: AtomicBool::new(false),
            flushes: Flushes::default(),
        }
    }

    /// Records that the socket accepted bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        self.is_blocked.store(false, Relaxed);
    }

    /// Records that the socket accepts no more bytes.
    pub(super) fn blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    /// Records that the client sent bytes, and returns whether there is room for them. Without a request in progress, they
    /// belong to a request's head or to h2 itself.
    pub(super) fn received(&self, bytes: usize, protocol: Protocol) -> bool {
        if self.responding.load(Relaxed) > 0 {
            return true;
        }
        if protocol == Protocol::Http1 {
            self.has_head_begun.store(true, Relaxed);
        }
        // Only the connection's own task reads and parses, so nothing else changes this value.
        let counted = self.heads.grow(self.head.load(Relaxed), bytes);
        counted.inspect(|&counted| self.head.store(counted, Relaxed)).is_some()
    }

    /// Records that a request's head is complete and its response begins.
    pub(super) fn response_began(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.responding.fetch_add(1, Relaxed);
        self.has_head_begun.store(false, Relaxed);
        self.heads.release(self.head.swap(0, Relaxed));
    }

    /// Records that a response has ended or was dropped.
    pub(super) fn response_ended(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_from.store(since, Relaxed);
        self.responding.fetch_sub(1, Relaxed);
    }

    /// Whether no response is in progress.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state(), ConnectionState::Idle | ConnectionState::ReadingHead)
    }

    /// Since when no response has been in progress; `None` if one is, or if the connection has been asked to close.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.is_idle() && !self.shed.is_cancelled())
            .then(|| self.began + Duration::from_millis(self.idle_from.load(Relaxed)))
    }

    /// Asks the connection to close, because another one needs its place.
    pub(super) fn shed(&self) {
        self.shed.cancel();
    }

    /// Returns once [`shed`](Self::shed) was called.
    pub(super) async fn until_shed(&self) {
        self.shed.cancelled().await;
    }

    /// Records that a response has handed over bytes and has not been polled since.
    pub(super) fn wait_begun(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Records that the response was polled again.
    pub(super) fn wait_ended(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// The connection's flushes.
    pub(super) const fn flushes(&self) -> &Flushes {
        &self.flushes
    }

    /// The connection's state.
    pub(super) fn state(&self) -> ConnectionState {
        if self.is_blocked.load(Relaxed) || self.waiting.load(Relaxed) > 0 {
            ConnectionState::Sending
        } else if self.responding.load(Relaxed) > 0 {
            ConnectionState::Responding
        } else if self.has_head_begun.load(Relaxed) {
            ConnectionState::ReadingHead
        } else {
            ConnectionState::Idle
        }
    }

    /// The connection's progress.
    pub(super) fn progress(&self) -> ConnectionProgress {
        ConnectionProgress { written: self.written.load(Relaxed), requests: self.requests.load(Relaxed) }
    }
}

impl Drop for ConnectionFlow {
    fn drop(&mut self) {
        self.heads.release(*self.head.get_mut());
    }
}
