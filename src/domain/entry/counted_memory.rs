use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes that count in a total until this is dropped.
#[derive(Debug)]
pub(super) struct CountedMemory {
    bytes: u64,
    total: Arc<AtomicU64>,
}

impl CountedMemory {
    pub(super) fn new(bytes: u64, total: &Arc<AtomicU64>) -> Self {
        total.fetch_add(bytes, Relaxed);
        Self { bytes, total: Arc::clone(total) }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn total(&self) -> &Arc<AtomicU64> {
        &self.total
    }
}

impl Drop for CountedMemory {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}
