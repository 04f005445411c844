use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

/// How many bytes bodies have given that no socket has taken: what slow readers hold. Clones count together.
#[derive(Clone, Default)]
pub struct Waiting(Arc<AtomicU64>);

impl Waiting {
    /// How many there are.
    pub fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The same bytes, counted until the last of them is dropped.
    pub(super) fn count(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len() as u64, Relaxed);
        Bytes::from_owner(Counted { bytes, waiting: self.clone() })
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.bytes()).finish()
    }
}

struct Counted {
    bytes: Bytes,
    waiting: Waiting,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_until_the_last_of_them_is_dropped() {
        let waiting = Waiting::default();
        let mut bytes = waiting.count(Bytes::from_static(b"0123456789"));
        assert_eq!((bytes.as_ref(), waiting.bytes()), (&b"0123456789"[..], 10));
        let rest = bytes.split_off(4);
        drop(bytes);
        assert_eq!((rest.as_ref(), waiting.bytes()), (&b"456789"[..], 10));
        drop(rest);
        assert_eq!(waiting.bytes(), 0);
    }
}
