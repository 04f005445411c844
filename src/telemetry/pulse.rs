use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Signs of life of the runtime that serves callers, and what a watchdog makes of them. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<PulseState>);

#[derive(Debug, Default)]
struct PulseState {
    beats: AtomicU64,
    is_stalled: AtomicBool,
}

impl Pulse {
    /// The runtime has come to this task again.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Relaxed);
    }

    /// How often it has.
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Relaxed)
    }

    /// Whether the runtime makes no progress.
    pub fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Relaxed)
    }

    /// Notes whether the runtime makes no progress; whether that is new.
    pub fn set_stalled(&self, is_stalled: bool) -> bool {
        self.0.is_stalled.swap(is_stalled, Relaxed) != is_stalled
    }
}
