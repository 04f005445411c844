use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, HashSet};

use super::piece::{AskedAt, place};
use crate::domain::{NewRow, Page, RowId, Span};

/// That the totals of one round's pages differ: the list moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Differ;

/// Whether rounds over one list have shown all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    Open,
    Whole,
}

/// What repeated readings of one list have shown.
///
/// A round counts the list's rows by their positions, doubles included, whatever it missed; so when as many different
/// rows are known as a round had positions, none is missing.
#[derive(Default)]
pub(super) struct Rounds {
    rows: BTreeMap<RowId, crate::domain::Row>,
    seen: HashSet<RowId>,
    positions: usize,
    brought_new: bool,
    quiet: u32,
    /// The totals given in this round: none yet, or the one that all pages gave, or that they differ.
    total: Option<Result<Option<u64>, Differ>>,
    worst_share: f64,
}

impl Rounds {
    pub(super) fn begin(&mut self) {
        self.seen.clear();
        (self.positions, self.brought_new, self.total) = (0, false, None);
    }

    pub(super) fn take(&mut self, page: Page) {
        self.positions += page.rows.len();
        let total = self.total.get_or_insert(Ok(page.total));
        if *total != Ok(page.total) {
            *total = Err(Differ);
        }
        for row in page.rows {
            self.seen.insert(row.id.clone());
            self.brought_new |= self.rows.insert(row.id.clone(), row).is_none();
        }
    }

    /// A round without doubles that saw all that is known, under one total, is a proven walk. Else every position must be accounted
    /// for, and one round more bring nothing. More known than positions means that rows left meanwhile: then as many
    /// rounds as make it unlikely (one in a thousand) that a row was missed every time.
    pub(super) fn end(&mut self) -> Belief {
        let known = self.rows.len();
        let has_total = matches!(self.total, Some(Ok(Some(_))));
        if has_total && self.seen.len() == known && self.positions == known {
            return Belief::Whole;
        }
        if self.brought_new {
            (self.quiet, self.worst_share) = (0, 1.0);
            return Belief::Open;
        }
        self.quiet += 1;
        self.worst_share = self.worst_share.min(self.seen.len() as f64 / known as f64);
        let rounds = i32::try_from(self.quiet).unwrap_or(i32::MAX);
        let missed = known as f64 * (1.0 - self.worst_share).powi(rounds);
        let is_enough = match known.cmp(&self.positions) {
            Less => false,
            Equal => true,
            Greater => self.quiet >= 3 && missed < 1e-3,
        };
        if is_enough { Belief::Whole } else { Belief::Open }
    }

    pub(super) fn rows(self, region: Span, asked_at: AskedAt) -> Vec<NewRow> {
        let page = Page { rows: self.rows.into_values().collect(), has_more: false, total: None };
        place(page, region.to(), asked_at.ours)
    }
}
