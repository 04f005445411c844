use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::counted_memory::CountedMemory;

/// Counts the responses that hold an entry, and its bytes once in the memory of all responses.
///
/// The bytes no longer count once the last response releases the entry, or the entry is dropped.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<HolderCount>);

#[derive(Debug, Default)]
struct HolderCount {
    holders: usize,
    counted: Option<CountedMemory>,
}

impl Holders {
    /// Counts one more response, and returns how many bytes the entry counts. Only the first response calls `weight`.
    pub(super) fn add(&self, total: &Arc<AtomicU64>, weight: impl FnOnce() -> u64) -> u64 {
        let mut state = self.0.lock();
        state.holders += 1;
        state.counted.get_or_insert_with(|| CountedMemory::new(weight(), total)).bytes()
    }

    /// Counts one response less.
    pub(super) fn remove(&self) {
        let mut state = self.0.lock();
        state.holders = state.holders.saturating_sub(1);
        if state.holders == 0 {
            state.counted = None;
        }
    }
}
