use crate::domain::{Row, Timestamp};

/// A digest of rows. The digest of several rows is the sum of theirs, so it does not depend on how they are divided into
/// entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// Adds another row's digest.
    pub const fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// A row on its way into an entry.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// The row as upstream gave it.
    pub row: Row,
    /// Its place in the order, see [`EntryRow::created_at`](super::EntryRow::created_at).
    pub created_at: Timestamp,
    /// When it was read, see [`EntryRow::read_at`](super::EntryRow::read_at).
    pub read_at: Timestamp,
    /// See [`EntryRow::is_doubted`](super::EntryRow::is_doubted).
    pub is_doubted: bool,
    /// Its digest, see [`EntryRow::digest`](super::EntryRow::digest).
    pub digest: Digest,
}

impl NewRow {
    /// Changes the row. A replacement keeps the place in the order.
    pub fn change(&mut self, change: RowChange<'_>) {
        match change {
            RowChange::None => {}
            RowChange::Doubted => self.is_doubted = true,
            // A row without a date would get another place from another page.
            RowChange::Row(new) => *self = Self { created_at: self.created_at, ..new.clone() },
        }
    }
}

/// How a row of an index is changed.
#[derive(Clone, Copy, Debug)]
pub enum RowChange<'n> {
    /// Not at all.
    None,
    /// It has changed in an unknown way.
    Doubted,
    /// It is replaced by this one.
    Row(&'n NewRow),
}
