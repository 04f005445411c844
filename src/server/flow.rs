use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::flushes::Flushes;
use super::heads::Heads;

/// What one connection does, as recorded by its socket and its responses.
///
/// The numbers are read one by one and a moment late. That is enough, because the watch looks for numbers that stay the same
/// for seconds.
#[derive(Debug)]
pub(super) struct ConnectionFlow {
    began: Instant,
    heads: Arc<Heads>,
    /// Bytes of an unfinished head, as counted in the listener's total.
    head: AtomicUsize,
    /// When the last response ended, in milliseconds since the connection began.
    idle_from: AtomicU64,
    shed: ShedSignal,
    written: AtomicU64,
    requests: AtomicU64,
    answering: AtomicUsize,
    waiting: AtomicUsize,
    is_blocked: AtomicBool,
    has_head_begun: AtomicBool,
    flushes: Flushes,
}

/// Tells a connection to close.
#[derive(Debug, Default)]
struct ShedSignal {
    is_given: AtomicBool,
    given: Notify,
}

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Not known yet.
    Silent,
    /// HTTP/1: everything that it sends between requests is a request's head.
    Http1,
    /// HTTP/2: pings and window updates may be sent between requests.
    Http2,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Bytes are ready, and the client does not read them.
    Giving,
    /// A response is being produced.
    Making,
    /// A request's head is incomplete.
    Hearing,
    /// There is no request.
    Idle,
}

/// The progress of a connection. If nothing in it changes, the connection has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionProgress {
    /// Bytes that the socket has taken.
    pub(super) written: u64,
    /// Requests whose head was complete.
    pub(super) requests: u64,
}

impl ConnectionFlow {
    /// Creates the flow of a new connection, whose unfinished heads count in `heads`.
    pub(super) fn new(heads: Arc<Heads>) -> Self {
        Self {
            began: Instant::now(),
            heads,
            head: AtomicUsize::new(0),
            idle_from: AtomicU64::new(0),
            shed: ShedSignal::default(),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
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

    /// Records that the client sent bytes, and returns whether there is room for them. Without a request in progress, they are
    /// part of a request's head, or h2's own.
    pub(super) fn heard(&self, bytes: usize, protocol: Protocol) -> bool {
        if self.answering.load(Relaxed) > 0 {
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
    pub(super) fn answer_begun(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.answering.fetch_add(1, Relaxed);
        self.has_head_begun.store(false, Relaxed);
        self.heads.release(self.head.swap(0, Relaxed));
    }

    /// Records that a response has ended or was dropped.
    pub(super) fn answer_ended(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_from.store(since, Relaxed);
        self.answering.fetch_sub(1, Relaxed);
    }

    /// Whether there is no request.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state(), ConnectionState::Idle | ConnectionState::Hearing)
    }

    /// Since when there has been no request. `None` if there is one, or if the connection has been asked to
    /// close.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.is_idle() && !self.shed.is_given.load(Relaxed))
            .then(|| self.began + Duration::from_millis(self.idle_from.load(Relaxed)))
    }

    /// Tells the connection to close, because another one needs its place.
    pub(super) fn shed(&self) {
        self.shed.is_given.store(true, Relaxed);
        self.shed.given.notify_one();
    }

    /// Returns when another connection needs its place.
    pub(super) async fn until_shed(&self) {
        self.shed.given.notified().await;
    }

    /// Records that a response has sent bytes and has not been polled since.
    pub(super) fn wait_begun(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Records that the response was polled again.
    pub(super) fn wait_ended(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// The flushes of the connection.
    pub(super) const fn flushes(&self) -> &Flushes {
        &self.flushes
    }

    /// The state of the connection.
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

    /// The progress of the connection.
    pub(super) fn progress(&self) -> ConnectionProgress {
        ConnectionProgress { written: self.written.load(Relaxed), requests: self.requests.load(Relaxed) }
    }
}

impl Drop for ConnectionFlow {
    fn drop(&mut self) {
        self.heads.release(*self.head.get_mut());
    }
}
