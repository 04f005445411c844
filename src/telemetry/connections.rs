use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of what became of connections. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts(Arc<ConnectionCounters>);

#[derive(Debug, Default)]
struct ConnectionCounters {
    open: AtomicU64,
    cut: [AtomicU64; CutReason::ALL.len()],
}

/// Why a connection, a stream or a request was not served to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// Nothing was asked for long.
    Idle,
    /// Nothing was asked, and another connection needed the place.
    Shed,
    /// The client took nothing of what was ready.
    Stalled,
    /// The client took nothing of one stream of an HTTP/2 connection.
    StalledStream,
    /// The client began a request's head and did not finish it.
    SlowHead,
    /// A request's head was not finished while such heads held too much memory.
    HeadMemory,
    /// A request's head was too large.
    HeadTooLarge,
    /// What came was not HTTP.
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

    /// The word for it in metrics.
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

/// An open connection; its drop closes it.
#[derive(Debug)]
pub struct OpenConnection(ConnectionCounts);

impl ConnectionCounts {
    /// A connection was opened.
    pub fn open(&self) -> OpenConnection {
        self.0.open.fetch_add(1, Relaxed);
        OpenConnection(self.clone())
    }

    /// How many are open.
    pub fn opened(&self) -> u64 {
        self.0.open.load(Relaxed)
    }

    /// Something was cut off.
    pub fn cut(&self, why: CutReason) {
        self.0.cut[why as usize].fetch_add(1, Relaxed);
    }

    /// How often that happened.
    pub fn cuts(&self, why: CutReason) -> u64 {
        self.0.cut[why as usize].load(Relaxed)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Relaxed);
    }
}
