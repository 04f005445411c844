use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// Counts the responses that hold an entry, and its bytes once in the memory of all responses.
///
/// The bytes are released when the last response releases the entry, or when the entry is dropped.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<HolderCount>);

#[derive(Debug, Default)]
struct HolderCount {
    holders: usize,
    bytes: u64,
    total: Option<Arc<AtomicU64>>,
}

impl Holders {
    /// Counts one more response, and returns how many bytes the entry counts; the first response calls
    /// `weight`.
    pub(super) fn add(&self, total: &Arc<AtomicU64>, weight: impl FnOnce() -> u64) -> u64 {
        let mut state = self.0.lock();
        if state.holders == 0 {
            state.bytes = weight();
            total.fetch_add(state.bytes, Relaxed);
            state.total = Some(Arc::clone(total));
        }
        state.holders += 1;
        state.bytes
    }

    /// Counts one response less.
    pub(super) fn remove(&self) {
        let mut state = self.0.lock();
        state.holders = state.holders.saturating_sub(1);
        if state.holders == 0 {
            state.give_back();
        }
    }
}

impl HolderCount {
    fn give_back(&mut self) {
        if let Some(total) = self.total.take() {
            total.fetch_sub(self.bytes, Relaxed);
        }
    }
}

impl Drop for HolderCount {
    fn drop(&mut self) {
        self.give_back();
    }
}
