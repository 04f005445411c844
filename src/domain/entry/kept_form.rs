//! Stored derived forms, and the room that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use crate::deflate::Separator;

/// The bytes that all forms take together.
#[derive(Debug, Default)]
pub(super) struct FormRoom {
    pub(super) most: AtomicU64,
    /// Bytes of derived forms.
    pub(super) kept: AtomicU64,
    /// Bytes of entries that are not deflated yet.
    pub(super) fresh: AtomicU64,
}

impl FormRoom {
    /// Whether this many more bytes fit.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.kept.load(Relaxed).saturating_add(length as u64) <= self.most.load(Relaxed)
    }
}

/// A form that may be kept in addition to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DerivedForm {
    /// Its rows as plain bytes.
    Plain(Separator),
    /// Its blocks with commas in them.
    Commas,
    /// Some of its rows, deflated separately.
    Piece,
    /// An extract of its rows: selected fields, or the values that totals need.
    Extract,
}

/// Distinguishes a form from earlier ones in the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FormId(pub(super) u64);

/// How forms are examined when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionLevel {
    /// Drops forms that were never used.
    Mild,
    /// Drops forms that were not used since they were last examined like this.
    Strict,
}

/// When a form was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Never,
    /// Before it was last examined strictly.
    Before,
    Lately,
}

/// A stored form, which frees its room when it is dropped.
#[derive(Debug)]
pub(super) struct KeptForm<T> {
    form: T,
    id: FormId,
    #[expect(dead_code, reason = "held for its drop")]
    place: Reservation,
    used: Used,
}

impl<T: Clone> KeptForm<T> {
    /// The form, as the source of another form.
    pub(super) fn form(&self) -> T {
        self.form.clone()
    }

    /// The form, for its own use.
    pub(super) fn used(&mut self) -> T {
        self.used = Used::Lately;
        self.form.clone()
    }
}

impl<T> KeptForm<T> {
    /// Takes room for a form of this many bytes, whether or not it fits.
    pub(super) fn new(form: T, id: FormId, bytes: usize, room: &Arc<FormRoom>) -> Self {
        let bytes = bytes as u64;
        room.kept.fetch_add(bytes, Relaxed);
        Self { form, id, place: Reservation { bytes, room: Arc::clone(room) }, used: Used::Never }
    }

    /// Whether it is the one with this ticket.
    pub(super) fn is(&self, id: FormId) -> bool {
        self.id == id
    }

    /// Whether it stays although room is needed.
    pub(super) const fn withstands(&mut self, level: EvictionLevel) -> bool {
        match (level, self.used) {
            (_, Used::Never) | (EvictionLevel::Strict, Used::Before) => false,
            (EvictionLevel::Mild, Used::Before | Used::Lately) => true,
            (EvictionLevel::Strict, Used::Lately) => {
                self.used = Used::Before;
                true
            }
        }
    }
}

/// Bytes that take room until this is dropped.
#[derive(Debug)]
struct Reservation {
    bytes: u64,
    room: Arc<FormRoom>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.kept.fetch_sub(self.bytes, Relaxed);
    }
}

/// Bytes as they arrived, until they are deflated.
#[derive(Debug)]
pub(super) struct Fresh {
    bytes: Bytes,
    counted_in: Option<Arc<FormRoom>>,
}

impl Fresh {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { bytes, counted_in: None }
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Counts them in a room, until they are dropped.
    pub(super) fn count(&mut self, room: &Arc<FormRoom>) {
        room.fresh.fetch_add(self.bytes.len() as u64, Relaxed);
        self.counted_in = Some(Arc::clone(room));
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(room) = &self.counted_in {
            room.fresh.fetch_sub(self.bytes.len() as u64, Relaxed);
        }
    }
}
