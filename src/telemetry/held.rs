use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

/// Counts bytes for as long as they are held anywhere. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct HeldBytes(Arc<AtomicU64>);

impl HeldBytes {
    /// The number of bytes held.
    pub fn held(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Returns the same bytes, which count until the last slice of them is dropped.
    pub fn count(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len() as u64, Relaxed);
        Bytes::from_owner(CountedBytes { bytes, among: self.clone() })
    }
}

struct CountedBytes {
    bytes: Bytes,
    among: HeldBytes,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.among.0.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_until_the_last_slice_is_dropped() {
        let held = HeldBytes::default();
        let mut bytes = held.count(Bytes::from_static(b"0123456789"));
        assert_eq!((bytes.as_ref(), held.held()), (&b"0123456789"[..], 10));
        let rest = bytes.split_off(4);
        drop(bytes);
        assert_eq!((rest.as_ref(), held.held()), (&b"456789"[..], 10));
        drop(rest);
        assert_eq!(held.held(), 0);
    }
}
