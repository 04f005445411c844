use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes of an unfinished head that every connection may hold: the size of the HTTP library's first buffer.
const SMALL: usize = 8 * 1024;

/// The most that one connection counts. The library refuses heads that are half as long.
const MOST_OF_ONE: usize = 256 * 1024;

/// The memory of unfinished request heads on all connections of a listener.
#[derive(Debug)]
pub(super) struct Heads {
    held: AtomicUsize,
    most: usize,
}

impl Heads {
    pub(super) const fn new(most: usize) -> Self {
        Self { held: AtomicUsize::new(0), most }
    }

    /// Adds bytes to a connection that counts `counted` so far. Returns its new count, or `None` if there is no room.
    pub(super) fn grow(&self, counted: usize, bytes: usize) -> Option<usize> {
        let now = (counted + bytes).min(MOST_OF_ONE);
        let total = self.held.fetch_add(now - counted, Relaxed) + now - counted;
        if total > self.most && now > SMALL {
            self.held.fetch_sub(now - counted, Relaxed);
            return None;
        }
        Some(now)
    }

    /// Removes a connection's count.
    pub(super) fn release(&self, counted: usize) {
        self.held.fetch_sub(counted, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_large_heads_over_the_total_bound_but_never_small_ones() {
        let heads = Heads::new(20 * 1024);
        let large = heads.grow(0, 15 * 1024).unwrap();
        assert_eq!(heads.grow(0, 10 * 1024), None);
        let small = heads.grow(0, SMALL).unwrap();
        assert_eq!(heads.grow(small, 1), None);
        heads.release(large);
        assert_eq!(heads.grow(small, 1), Some(SMALL + 1));
    }

    #[test]
    fn the_count_of_one_connection_is_bounded() {
        let heads = Heads::new(usize::MAX);
        let counted = heads.grow(MOST_OF_ONE - 1, 17).unwrap();
        assert_eq!(heads.grow(counted, 17), Some(MOST_OF_ONE));
    }
}
