use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{MAX_PAGE_SIZE, Page};

/// How long upstream's pages are assumed to be smaller than the documented size.
const SMALLER_FOR: Duration = Duration::from_mins(10);

/// Which of upstream's statements about its pages are believed, for one scope.
///
/// `has_more` and `total` are both believed until rows contradict one of them. If `has_more` is not believed,
/// a list ends with a page that is not full.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Beliefs {
    /// Whether `has_more` says where a list ends.
    pub(in crate::engine) has_more: bool,
    /// Whether `total` counts the rows of the question.
    pub(in crate::engine) total: bool,
    /// Whether numbered pages contain every row of a list.
    pub(in crate::engine) numbers: bool,
    size: u32,
    resized_at: Option<Instant>,
    largest: usize,
}

impl Default for Beliefs {
    fn default() -> Self {
        let size = MAX_PAGE_SIZE as u32;
        Self { has_more: true, total: true, numbers: true, size, resized_at: None, largest: 0 }
    }
}

impl Beliefs {
    /// The page size to request.
    pub(in crate::engine) const fn size(&self) -> u32 {
        self.size
    }

    /// Whether a page may be truncated: it has as many rows as were requested, or as the largest page so far.
    pub(in crate::engine) fn is_full(&self, rows: usize) -> bool {
        rows > 0 && rows >= self.largest.min(self.size as usize)
    }

    /// Whether upstream says that more pages follow, if that is believed.
    pub(in crate::engine) fn says_more(&self, page: &Page) -> bool {
        if self.has_more { page.has_more } else { self.is_full(page.rows.len()) }
    }

    /// Whether upstream's `total` says that there are more rows than these, if that is believed.
    pub(in crate::engine) fn lacks(&self, total: Option<u64>, rows: u64) -> bool {
        self.total && total.is_some_and(|total| total > rows)
    }

    /// The number of known rows that a span is cut to, so that it fits one page: a page less the rows that
    /// may have been added since.
    pub(in crate::engine) fn rows_a_piece(&self) -> usize {
        let full = if self.largest == 0 { self.size as usize } else { self.largest.min(self.size as usize) };
        match self.has_more && self.resized_at.is_none() {
            true => MAX_PAGE_SIZE * 21 / 25,
            false => (full * 21 / 25).max(1),
        }
    }

    /// Records the size of a page.
    pub(in crate::engine) fn saw(&mut self, rows: usize) {
        self.largest = self.largest.max(rows);
    }

    /// A page of at most this many rows was truncated.
    pub(in crate::engine) const fn shrink(&mut self, rows: usize) {
        self.largest = rows;
    }

    /// Assumes that upstream's pages have at most this many rows.
    pub(in crate::engine) fn resize(&mut self, rows: usize, now: Instant) {
        (self.size, self.largest, self.resized_at) = (rows as u32, rows, Some(now));
    }

    /// Requests pages of the documented size again after some time.
    pub(in crate::engine) fn refresh(&mut self, now: Instant) {
        if self.resized_at.is_some_and(|at| now.saturating_duration_since(at) >= SMALLER_FOR) {
            (self.size, self.resized_at) = (MAX_PAGE_SIZE as u32, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_full_at_the_requested_size_or_the_largest_seen() {
        let mut beliefs = Beliefs::default();
        beliefs.saw(20);
        let full = |beliefs: &Beliefs| [0, 19, 20, 50].map(|rows| beliefs.is_full(rows));
        assert_eq!(full(&beliefs), [false, false, true, true]);
        beliefs.saw(50);
        assert_eq!(full(&beliefs), [false, false, false, true]);
        beliefs.resize(20, Instant::now());
        assert_eq!((full(&beliefs), beliefs.size()), ([false, false, true, true], 20));
    }

    #[test]
    fn a_smaller_page_size_is_tried_again_after_a_while() {
        let (mut beliefs, now) = (Beliefs::default(), Instant::now());
        beliefs.resize(20, now);
        beliefs.refresh(now + SMALLER_FOR / 2);
        assert_eq!(beliefs.size(), 20);
        beliefs.refresh(now + SMALLER_FOR);
        assert_eq!(beliefs.size(), 50);
    }
}
