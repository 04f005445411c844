use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, HashSet};

use crate::domain::{NewRow, Page, RowId, Span, Timestamp};
use crate::engine::coverage::place;
use crate::engine::terms::AskedAt;

/// That the totals of one round's pages differ: the list moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Differ;

/// Whether rounds over one list have shown all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Belief {
    Open,
    Whole,
}

/// What repeated readings of one list have shown of a region.
///
/// A round counts the region's rows by their positions, doubles included, whatever it missed; so when as many different
/// rows are known as a round had positions, none is missing.
pub(in crate::engine) struct Rounds {
    region: Span,
    rows: BTreeMap<RowId, NewRow>,
    /// In how many rounds in a row each of them that was not there was missed.
    missed: BTreeMap<RowId, u32>,
    /// The place of the last row in this round.
    before: Option<Timestamp>,
    seen: HashSet<RowId>,
    /// Those of the whole list, in this round.
    listed: HashSet<RowId>,
    positions: usize,
    /// How many pages this round has taken.
    pages: u32,
    /// Whether the last page said that no more follow.
    has_ended: bool,
    /// How many of its last pages had nothing but rows of earlier ones.
    repeats: u32,
    brought_new: bool,
    quiet: u32,
    /// The totals given in this round: none yet, or the one that all pages gave, or that they differ.
    total: Option<Result<Option<u64>, Differ>>,
    worst_share: f64,
    /// How long the whole list was at the end of the round before, and how far this one has come.
    length_before: usize,
    length: usize,
}

/// In how many rounds in a row nothing of the region must be there before it counts as empty: no list moves so that the
/// same rows fall between two pages each time.
const GONE: u32 = 6;

/// For how many rounds nothing new must come before it is believed without every position accounted for.
const QUIET: u32 = 3;

impl Rounds {
    pub(in crate::engine) fn new(region: Span) -> Self {
        Self {
            region,
            rows: BTreeMap::new(),
            missed: BTreeMap::new(),
            before: None,
            seen: HashSet::new(),
            listed: HashSet::new(),
            positions: 0,
            pages: 0,
            has_ended: false,
            repeats: 0,
            brought_new: false,
            quiet: 0,
            total: None,
            worst_share: 1.0,
            length_before: 0,
            length: 0,
        }
    }

    pub(in crate::engine) fn begin(&mut self) {
        self.seen.clear();
        self.listed.clear();
        (self.length_before, self.length) = (self.length, 0);
        (self.positions, self.brought_new, self.total, self.before) = (0, false, None, None);
        (self.pages, self.repeats) = (0, 0);
    }

    pub(in crate::engine) fn take(&mut self, page: Page) {
        self.length += page.rows.len();
        self.pages += 1;
        self.has_ended = !page.has_more;
        let listed = self.listed.len();
        self.listed.extend(page.rows.iter().map(|row| row.id.clone()));
        self.repeats = if self.listed.len() > listed { 0 } else { self.repeats + 1 };
        let total = self.total.get_or_insert(Ok(page.total));
        if *total != Ok(page.total) {
            *total = Err(Differ);
        }
        // Rows of one second may change places, also over the region's edge.
        let counted = self.region.outward();
        let rows = place(page, self.before, self.region, Timestamp::MIN);
        self.before = rows.last().map(|row| row.created_at).or(self.before);
        for row in rows.into_iter().filter(|row| counted.contains(row.created_at)) {
            self.positions += 1;
            self.seen.insert(row.row.id.clone());
            self.brought_new |= self.rows.insert(row.row.id.clone(), row).is_none();
        }
    }

    /// One page with rows that says "no more" is one moment's answer: what it does not have has left.
    ///
    /// A round without doubles in all of the list, to its end, that saw all that is known, under one total, is a proven walk. Else
    /// every position must be accounted for, and one round more bring nothing; several, if rows outside the region came
    /// twice, since others may have jumped over it.
    ///
    /// More known than positions means that rows left meanwhile, and so may some have that others stand in for: then as many rounds as make it unlikely (one in a
    /// thousand) that a row was missed every time. More positions than known, that rows came twice: because the list
    /// grew at its head, if it did grow by as many since the round before.
    pub(in crate::engine) fn end(&mut self) -> Belief {
        if self.pages == 1 && self.has_ended && self.length > 0 {
            let seen = &self.seen;
            self.rows.retain(|id, _| seen.contains(id));
            return Belief::Whole;
        }
        self.count_missed();
        let known = self.rows.len();
        let has_total = matches!(self.total, Some(Ok(Some(_))));
        let is_still = self.has_ended && self.listed.len() - self.seen.len() == self.length - self.positions;
        if has_total && is_still && self.seen.len() == known && self.positions == known {
            return Belief::Whole;
        }
        let is_first = self.length_before == 0 && self.length > 0;
        if self.brought_new || is_first {
            (self.quiet, self.worst_share) = (0, 1.0);
            return Belief::Open;
        }
        self.quiet += 1;
        self.worst_share = self.worst_share.min(self.seen.len() as f64 / known.max(1) as f64);
        let rounds = i32::try_from(self.quiet).unwrap_or(i32::MAX);
        let missed = known as f64 * (1.0 - self.worst_share).powi(rounds);
        let are_gone = self.are_gone();
        let doubles = self.positions - self.seen.len();
        let is_enough = match known.cmp(&self.positions) {
            Less => self.quiet >= QUIET && doubles <= self.length.saturating_sub(self.length_before),
            // As many as there are, and they are those: none came twice.
            Equal if self.seen.len() == known => is_still || self.quiet >= QUIET,
            Equal | Greater => self.quiet >= QUIET && (missed < 1e-3 || are_gone),
        };
        if is_enough { Belief::Whole } else { Belief::Open }
    }

    /// How many of this round's last pages had nothing but rows of earlier ones.
    pub(in crate::engine) const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Whether the list has become longer since the round before.
    pub(in crate::engine) const fn has_grown(&self) -> bool {
        self.length_before > 0 && self.length > self.length_before
    }

    /// Counts for every known row in how many rounds in a row it was missed.
    fn count_missed(&mut self) {
        let seen = &self.seen;
        self.missed.retain(|id, _| !seen.contains(id));
        for id in self.rows.keys().filter(|id| !seen.contains(*id)) {
            *self.missed.entry(id.clone()).or_default() += 1;
        }
    }

    /// Whether nothing of the region is there any more. While others are, one that is not may have changed places with
    /// them each time.
    fn are_gone(&self) -> bool {
        self.seen.is_empty() && self.missed.values().all(|rounds| *rounds >= GONE)
    }

    pub(in crate::engine) fn rows(self, asked_at: AskedAt) -> Vec<NewRow> {
        if self.are_gone() {
            return Vec::new();
        }
        self.rows.into_values().map(|row| NewRow { read_at: asked_at.ours, ..row }).collect()
    }
}

#[cfg(test)]
mod tests;
