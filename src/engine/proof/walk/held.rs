use std::collections::BTreeMap;

use crate::domain::{NewRow, Span, Timestamp};
use crate::engine::coverage::Piece;
use crate::engine::proof::goal::Extent;
use crate::engine::terms::AskedAt;

/// The accepted rows that are not given out yet, and the part of the region that they are of.
#[derive(Debug)]
pub(super) struct HeldRows {
    /// None once all was given out.
    rest: Option<Span>,
    rows: Vec<NewRow>,
    /// Instants of which it is not known which rows there are.
    tied: BTreeMap<Timestamp, Tie>,
}

/// An instant of which rows lie on both sides of a seam.
#[derive(Debug, Default)]
struct Tie {
    /// Its rows, once they were asked apart.
    rows: Option<Vec<NewRow>>,
}

/// Whether ties are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ties {
    Open,
    Resolved,
    /// A tie does not explain the rows that came twice: the list moved.
    Refuted,
}

impl HeldRows {
    pub(super) const fn of(region: Span) -> Self {
        Self { rest: Some(region), rows: Vec::new(), tied: BTreeMap::new() }
    }

    /// What is left of the region below what was given out.
    pub(super) const fn rest(&self) -> Option<Span> {
        self.rest
    }

    /// How many rows wait to be given out.
    pub(super) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Their instants.
    pub(super) fn instants(&self) -> impl Iterator<Item = Timestamp> {
        self.rows.iter().map(|row| row.created_at)
    }

    /// Whether everything of an instant of the region was given out.
    pub(super) fn has_given(&self, instant: Timestamp) -> bool {
        self.rest.is_none_or(|rest| instant > rest.to())
    }

    pub(super) fn add(&mut self, rows: impl Iterator<Item = NewRow>) {
        self.rows.extend(rows);
    }

    /// Notes that it is not known which rows of an instant there are; whether that is new.
    pub(super) fn tie(&mut self, instant: Timestamp) -> bool {
        let is_new = !self.tied.contains_key(&instant);
        self.tied.entry(instant).or_default();
        is_new
    }

    /// Takes all rows of an instant that was tied.
    pub(super) fn untie(&mut self, instant: Timestamp, rows: Vec<NewRow>) {
        if let Some(tie) = self.tied.get_mut(&instant) {
            tie.rows = Some(rows);
        }
    }

    /// Puts the rows of ties whose instants have passed in their places.
    ///
    /// A tie explains a double only if the pages had as many positions at its instant as there are rows. Else the
    /// list moved.
    pub(super) fn resolve(&mut self, has_passed: impl Fn(Timestamp) -> bool) -> Ties {
        let known: Vec<Timestamp> = self
            .tied
            .iter()
            .filter(|(at, tie)| tie.rows.is_some() && has_passed(**at))
            .map(|(at, _)| *at)
            .collect();
        for instant in known {
            // A row without a date may have found its place here; it was not asked for by this instant.
            let is_here = |row: &NewRow| row.row.created_at == Some(instant);
            let rows = self.tied.get_mut(&instant).and_then(|tie| tie.rows.take()).unwrap_or_default();
            let rows: Vec<NewRow> = rows.into_iter().filter(is_here).collect();
            let positions = self.rows.iter().filter(|row| is_here(row)).count();
            if rows.len() != positions {
                // The instant stays tied: nothing that was seen of it counts.
                return Ties::Refuted;
            }
            self.tied.remove(&instant);
            self.rows.retain(|row| !is_here(row));
            self.rows.extend(rows);
        }
        if self.tied.is_empty() { Ties::Resolved } else { Ties::Open }
    }

    /// Gives out what is proven: everything, or what lies above the confirmed instant and all ties.
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
