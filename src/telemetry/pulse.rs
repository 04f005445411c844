use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The heartbeat of the runtime that serves callers, and the watchdog's conclusion from it. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<PulseState>);

#[derive(Debug, Default)]
struct PulseState {
    beats: AtomicU64,
    is_stalled: AtomicBool,
}

impl Pulse {
    /// Records that the runtime has run the beating task.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Relaxed);
    }

    /// The number of beats.
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Relaxed)
    }

    /// Whether the runtime makes no progress.
    pub fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Relaxed)
    }

    /// Records whether the runtime makes no progress, and returns whether that has changed.
    pub fn set_stalled(&self, is_stalled: bool) -> bool {
        self.0.is_stalled.swap(is_stalled, Relaxed) != is_stalled
    }
}
