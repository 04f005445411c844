use std::collections::BTreeMap;

use crate::domain::{NewRow, Span, Timestamp};
use crate::engine::coverage::Piece;
use crate::engine::proof::goal::Extent;
use crate::engine::terms::AskedAt;

/// The accepted rows that were not emitted yet, and their part of the region.
#[derive(Debug)]
pub(super) struct HeldRows {
    /// `None` once everything was emitted.
    rest: Option<Span>,
    rows: Vec<NewRow>,
    /// Instants whose rows are not known for certain.
    tied: BTreeMap<Timestamp, Tie>,
}

/// An instant whose rows are on both sides of a seam.
#[derive(Debug, Default)]
struct Tie {
    /// Its rows, once they were requested separately.
    rows: Option<Vec<NewRow>>,
}

/// Whether ties are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ties {
    Open,
    Resolved,
    /// A tie does not explain the repeated rows: the list moved.
    Refuted,
}

impl HeldRows {
    pub(super) const fn of(region: Span) -> Self {
        Self { rest: Some(region), rows: Vec::new(), tied: BTreeMap::new() }
    }

    /// The rest of the region, below what was emitted.
    pub(super) const fn rest(&self) -> Option<Span> {
        self.rest
    }

    /// How many rows wait to be emitted.
    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Their instants.
    pub(super) fn instants(&self) -> impl Iterator<Item = Timestamp> {
        self.rows.iter().map(|row| row.created_at)
    }

    /// Whether all rows of an instant of the region were emitted.
    pub(super) fn has_given(&self, instant: Timestamp) -> bool {
        self.rest.is_none_or(|rest| instant > rest.to())
    }

    pub(super) fn add(&mut self, rows: impl Iterator<Item = NewRow>) {
        self.rows.extend(rows);
    }

    /// Marks the rows of an instant as uncertain; returns whether they were not marked before.
    pub(super) fn tie(&mut self, instant: Timestamp) -> bool {
        let is_new = !self.tied.contains_key(&instant);
        self.tied.entry(instant).or_default();
        is_new
    }

    /// Takes all rows of a tied instant.
    pub(super) fn untie(&mut self, instant: Timestamp, rows: Vec<NewRow>) {
        if let Some(tie) = self.tied.get_mut(&instant) {
            tie.rows = Some(rows);
        }
    }

    /// Inserts the rows of ties whose instants have passed.
    ///
    /// A tie explains a repeated row only if the pages had as many positions at its instant as there are
    /// rows. Otherwise the list moved.
    pub(super) fn resolve(&mut self, has_passed: impl Fn(Timestamp) -> bool) -> Ties {
        let known: Vec<Timestamp> = self
            .tied
            .iter()
            .filter(|(at, tie)| tie.rows.is_some() && has_passed(**at))
            .map(|(at, _)| *at)
            .collect();
        for instant in known {
            // A row without a date may have been placed here; the request for this instant does not cover it.
            let is_here = |row: &NewRow| row.row.created_at == Some(instant);
            let rows = self.tied.get_mut(&instant).and_then(|tie| tie.rows.take()).unwrap_or_default();
            let rows: Vec<NewRow> = rows.into_iter().filter(is_here).collect();
            let positions = self.rows.iter().filter(|row| is_here(row)).count();
            if rows.len() != positions {
                // The instant stays tied: what the pages showed of it does not count.
                return Ties::Refuted;
            }
            self.tied.remove(&instant);
            self.rows.retain(|row| !is_here(row));
            self.rows.extend(rows);
        }
        if self.tied.is_empty() { Ties::Resolved } else { Ties::Open }
    }

    /// Emits the proven rows: all, or those above the confirmed instant and all ties.
    pub(super) fn give(
        &mut self,
        extent: Extent,
        confirmed: Option<Timestamp>,
        asked_at: AskedAt,
    ) -> Option<Piece> {
        let rest = self.rest?;
        let part = match extent {
            Extent::Whole => rest,
            Extent::Prefix => {
                let highest_tie = self.tied.keys().next_back().copied();
                rest.after(confirmed?.max(highest_tie.unwrap_or(confirmed?)))?
            }
        };
        let (given, held) =
            std::mem::take(&mut self.rows).into_iter().partition(|row| part.contains(row.created_at));
        self.rows = held;
        self.rest = rest.before(part.from());
        Some(Piece::new(part, given, asked_at))
    }
}
