use crate::domain::Page;
use crate::engine::proof::beliefs::Beliefs;

/// How many pages more than its total says a list may have before the total is assumed to count something
/// else.
const MAX_EXCESS_PAGES: u64 = 8;

/// What the pages of a walk say about their list, and whether that is consistent.
#[derive(Debug)]
pub(super) struct Claims {
    beliefs: Beliefs,
    /// The total of the last accepted page.
    total: Option<u64>,
    /// How many rows were accepted.
    pub(super) count: u64,
    /// How many rows the first page has.
    full_page: usize,
    /// The `has_more` of the last page.
    said_more: Option<bool>,
    /// The last page that was requested once more.
    asked_again: u32,
}

/// Why a page is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It shows an earlier moment than the page before it, and was not requested again yet.
    Earlier,
    /// It contradicts the pages before it.
    Contradiction,
}

impl Claims {
    pub(super) const fn new(beliefs: Beliefs) -> Self {
        let full_page = beliefs.size() as usize;
        Self { beliefs, total: None, count: 0, full_page, said_more: None, asked_again: 0 }
    }

    /// What is believed of upstream's pages after the accepted ones.
    pub(super) const fn beliefs(&self) -> &Beliefs {
        &self.beliefs
    }

    /// The number of pages by the total.
    pub(super) fn pages(&self) -> u32 {
        let pages = self.total.map_or(0, |total| total.div_ceil(self.beliefs.size().into()));
        u32::try_from(pages).unwrap_or(u32::MAX)
    }

    /// The number of rows that the list lacks by its total, if that is believed.
    pub(super) fn missing(&self) -> u64 {
        let is_short = self.beliefs.lacks(self.total, self.count);
        self.total.filter(|_| is_short).map_or(0, |total| total - self.count)
    }

    /// By how much the list has grown since the previous page.
    ///
    /// # Errors
    /// The page is rejected.
    pub(super) fn growth(&mut self, number: u32, page: &Page) -> Result<u64, Objection> {
        if number == 1 {
            (self.total, self.full_page) = (page.total, page.rows.len());
        }
        self.beliefs.saw(page.rows.len());
        let after = self.count + page.rows.len() as u64;
        let excess = MAX_EXCESS_PAGES * u64::from(self.beliefs.size());
        if self.beliefs.total && page.total.is_some_and(|total| after > total + excess) {
            self.beliefs.total = false;
            return Err(Objection::Contradiction);
        }
        let growth = match (self.total, page.total) {
            (Some(before), Some(now)) if now < before && self.asked_again < number => {
                self.asked_again = number;
                return Err(Objection::Earlier);
            }
            (Some(before), Some(now)) => now.checked_sub(before),
            (None, None) => Some(0),
            (Some(_), None) | (None, Some(_)) => None,
        };
        let is_at_total = number > 1 && page.total == Some(after);
        let is_short =
            self.beliefs.says_more(page) && page.rows.len() < self.full_page.max(1) && !is_at_total;
        growth.filter(|_| !is_short).ok_or(Objection::Contradiction)
    }

    /// Accepts a page; returns whether more follow.
    pub(super) fn accept(&mut self, page: &Page) -> bool {
        let count = self.count + page.rows.len() as u64;
        let is_empty = page.rows.is_empty();
        let has_more = !is_empty && (self.beliefs.says_more(page) || self.beliefs.lacks(page.total, count));
        // What the previous page said about this one.
        self.beliefs.has_more &= self.said_more.is_none_or(|said_more| said_more != is_empty);
        (self.said_more, self.total, self.count) = (Some(page.has_more), page.total, count);
        has_more
    }
}
