use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts open connections, and those that were cut off. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts(Arc<ConnectionCounters>);

#[derive(Debug, Default)]
struct ConnectionCounters {
    open: AtomicU64,
    cut: [AtomicU64; CutReason::ALL.len()],
}

/// Why a connection, a stream or a request was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// The connection had no request for too long.
    Idle,
    /// The connection had no request, and another one needed its place.
    Shed,
    /// The client read nothing although bytes were ready.
    Stalled,
    /// The client read nothing of one stream of an HTTP/2 connection.
    StalledStream,
    /// The client began a request's head and did not finish it in time.
    SlowHead,
    /// All unfinished request heads together held too much memory.
    HeadMemory,
    /// A request's head was too large.
    HeadTooLarge,
    /// The client did not send HTTP.
    Malformed,
}

impl CutReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Shed,
        Self::Stalled,
        Self::StalledStream,
        Self::SlowHead,
        Self::HeadMemory,
        Self::HeadTooLarge,
        Self::Malformed,
    ];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Shed => "shed",
            Self::Stalled => "stalled",
            Self::StalledStream => "stalled_stream",
            Self::SlowHead => "slow_head",
            Self::HeadMemory => "head_memory",
            Self::HeadTooLarge => "head_too_large",
            Self::Malformed => "malformed",
        }
    }
}

/// Counts an open connection until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(ConnectionCounts);

impl ConnectionCounts {
    /// Counts a new connection.
    pub fn open(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Relaxed);
        OpenConnection(self.clone())
    }

    /// The number of open connections.
    pub fn opened(&self) -> u64 {
        self.0.open.load(Relaxed)
    }

    /// Counts something that was cut off.
    pub fn cut(&self, why: CutReason) {
        self.0.cut[why as usize].fetch_add(1, Relaxed);
    }

    /// How many were cut off for this reason.
    pub fn cuts(&self, why: CutReason) -> u64 {
        self.0.cut[why as usize].load(Relaxed)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Relaxed);
    }
}
