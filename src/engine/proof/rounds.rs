use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, HashSet};

use crate::domain::{NewRow, Page, RowId, Span, Timestamp};
use crate::engine::coverage::{Piece, place};
use crate::engine::terms::AskedAt;

/// Whether rounds over a list have shown all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Belief {
    Open,
    Whole,
}

/// What repeated reads of one list have shown of a region.
///
/// A round counts the region's rows by position, including repeated rows, whatever rows it missed. If as many
/// different rows are known as a round had positions, none is missing.
pub(in crate::engine) struct Rounds {
    region: Span,
    rows: BTreeMap<RowId, NewRow>,
    /// For each known row that was not in the latest round: in how many consecutive rounds it was missing.
    missed: BTreeMap<RowId, u32>,
    round: Round,
    /// The length of the whole list at the end of the previous round.
    length_before: usize,
    quiet: u32,
    worst_share: f64,
    /// When the first page was requested.
    asked_at: Option<AskedAt>,
}

/// What the current round has shown so far.
#[derive(Default)]
struct Round {
    /// The place of its last row.
    before: Option<Timestamp>,
    /// The rows in the region.
    seen: HashSet<RowId>,
    /// The rows of the whole list.
    listed: HashSet<RowId>,
    /// The number of rows in the region, including repeated rows.
    positions: usize,
    /// The number of rows of the whole list.
    length: usize,
    pages: u32,
    /// Whether the last page said that no more follow.
    has_ended: bool,
    /// How many of its latest pages had only rows of earlier pages.
    repeats: u32,
    brought_new: bool,
    total: RoundTotal,
}

/// The total that the pages of a round give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RoundTotal {
    /// No page has arrived yet.
    #[default]
    Open,
    /// All pages gave this one, or none.
    Same(Option<u64>),
    /// They differ: the list moved.
    Differ,
}

/// The number of consecutive rounds without rows in the region after which it counts as empty: no list moves
/// so that the same rows fall between two pages each time.
const GONE: u32 = 6;

/// The number of rounds without new rows that is convincing even if not every position is accounted for.
const QUIET: u32 = 3;

impl Rounds {
    pub(in crate::engine) fn new(region: Span) -> Self {
        Self {
            region,
            rows: BTreeMap::new(),
            missed: BTreeMap::new(),
            round: Round::default(),
            length_before: 0,
            quiet: 0,
            worst_share: 1.0,
            asked_at: None,
        }
    }

    pub(in crate::engine) fn begin(&mut self) {
        self.length_before = std::mem::take(&mut self.round).length;
    }

    pub(in crate::engine) fn take(&mut self, page: Page, asked_at: AskedAt) {
        let read_at = self.asked_at.get_or_insert(asked_at).ours;
        let round = &mut self.round;
        round.length += page.rows.len();
        round.pages += 1;
        round.has_ended = !page.has_more;
        let listed = round.listed.len();
        round.listed.extend(page.rows.iter().map(|row| row.id.clone()));
        round.repeats = if round.listed.len() > listed { 0 } else { round.repeats + 1 };
        round.total = match round.total {
            RoundTotal::Open => RoundTotal::Same(page.total),
            RoundTotal::Same(total) if total == page.total => round.total,
            RoundTotal::Same(_) | RoundTotal::Differ => RoundTotal::Differ,
        };
        // Rows of one second may swap places, even across the region's edge.
        let counted = self.region.outward();
        let rows = place(page, round.before, self.region, read_at);
        round.before = rows.last().map(|row| row.created_at).or(round.before);
        for row in rows.into_iter().filter(|row| counted.contains(row.created_at)) {
            round.positions += 1;
            round.seen.insert(row.row.id.clone());
            round.brought_new |= self.rows.insert(row.row.id.clone(), row).is_none();
        }
    }

    /// One page with rows and `has_more: false` shows the list at one moment: rows that are not on it are
    /// gone.
    ///
    /// A round is a proven walk if it reached the end of the list under one total, had no repeated rows in
    /// the whole list, and saw all known rows. Otherwise every position must be accounted for, and one more
    /// round must find nothing new; several rounds if rows outside the region were repeated, because others
    /// may have jumped over it.
    ///
    /// More known rows than positions mean that rows have left meanwhile, and some that left may be masked by
    /// others. Then enough rounds are needed to make it unlikely (one in a thousand) that a row was missed
    /// each time. More positions than known rows mean that rows were repeated, because the list grew at its
    /// head, if it has grown by as many since the previous round.
    pub(in crate::engine) fn end(&mut self) -> Belief {
        self.count_missed();
        let round = &self.round;
        if round.pages == 1 && round.has_ended && round.length > 0 {
            self.rows.retain(|id, _| round.seen.contains(id));
            return Belief::Whole;
        }
        let known = self.rows.len();
        let has_total = matches!(round.total, RoundTotal::Same(Some(_)));
        let is_still =
            round.has_ended && round.listed.len() - round.seen.len() == round.length - round.positions;
        if has_total && is_still && round.seen.len() == known && round.positions == known {
            return Belief::Whole;
        }
        let is_first = self.length_before == 0 && round.length > 0;
        if round.brought_new || is_first {
            (self.quiet, self.worst_share) = (0, 1.0);
            return Belief::Open;
        }
        self.quiet += 1;
        self.worst_share = self.worst_share.min(round.seen.len() as f64 / known.max(1) as f64);
        let rounds = i32::try_from(self.quiet).unwrap_or(i32::MAX);
        let missed = known as f64 * (1.0 - self.worst_share).powi(rounds);
        let doubles = round.positions - round.seen.len();
        let is_enough = match known.cmp(&round.positions) {
            Less => self.quiet >= QUIET && doubles <= round.length.saturating_sub(self.length_before),
            // As many as there are, and the same ones: none was repeated.
            Equal if round.seen.len() == known => is_still || self.quiet >= QUIET,
            Equal | Greater => self.quiet >= QUIET && (missed < 1e-3 || self.are_gone()),
        };
        if is_enough { Belief::Whole } else { Belief::Open }
    }

    /// How many of this round's latest pages had only rows of earlier pages.
    pub(in crate::engine) const fn repeats(&self) -> u32 {
        self.round.repeats
    }

    /// How many rows the pages of this round had, including repeated ones.
    pub(in crate::engine) const fn length(&self) -> usize {
        self.round.length
    }

    /// Whether the list is longer than in the previous round.
    pub(in crate::engine) const fn has_grown(&self) -> bool {
        self.length_before > 0 && self.round.length > self.length_before
    }

    /// Counts in how many consecutive rounds each known row was missing.
    fn count_missed(&mut self) {
        let seen = &self.round.seen;
        self.missed.retain(|id, _| !seen.contains(id));
        for id in self.rows.keys().filter(|id| !seen.contains(*id)) {
            *self.missed.entry(id.clone()).or_default() += 1;
        }
    }

    /// Whether all rows of the region are gone. As long as some are left, a missing row may have swapped
    /// places with them each time.
    fn are_gone(&self) -> bool {
        self.round.seen.is_empty() && self.missed.values().all(|rounds| *rounds >= GONE)
    }

    /// All rows of the region, once they are believed to be complete.
    pub(in crate::engine) fn into_piece(self) -> Option<Piece> {
        let rows = if self.are_gone() { Vec::new() } else { self.rows.into_values().collect() };
        Some(Piece::new(self.region, rows, self.asked_at?))
    }
}

#[cfg(test)]
mod tests;
