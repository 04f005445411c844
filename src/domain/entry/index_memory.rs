use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that an index or a column of it takes, counted until it is dropped.
#[derive(Debug)]
pub(super) struct CountedIndex {
    bytes: u64,
    total: Arc<AtomicU64>,
}

impl CountedIndex {
    pub(super) fn new(bytes: u64, total: &Arc<AtomicU64>) -> Self {
        total.fetch_add(bytes, Relaxed);
        Self { bytes, total: Arc::clone(total) }
    }

    pub(super) const fn total(&self) -> &Arc<AtomicU64> {
        &self.total
    }
}

impl Drop for CountedIndex {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}
