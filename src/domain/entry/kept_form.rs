//! Stored derived forms, and the room that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use super::counted_memory::CountedMemory;
use crate::deflate::Separator;

/// The bytes that all forms take together.
#[derive(Debug, Default)]
pub(super) struct FormRoom {
    /// The most bytes of derived forms.
    pub(super) most: AtomicU64,
    /// Bytes of derived forms.
    pub(super) kept: Arc<AtomicU64>,
    /// Bytes of entries that are not deflated yet.
    pub(super) fresh: Arc<AtomicU64>,
}

impl FormRoom {
    /// Whether this many more bytes of derived forms fit.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.kept.load(Relaxed).saturating_add(length as u64) <= self.most.load(Relaxed)
    }
}

/// A form that may be kept in addition to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DerivedForm {
    /// The rows as plain bytes.
    Plain(Separator),
    /// The deflated rows with commas between them.
    Commas,
    /// Some of the rows, deflated separately.
    Piece,
    /// An extract of the rows: selected fields, or the values that totals need.
    Extract,
}

/// Distinguishes a form from earlier ones in the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FormId(pub(super) u64);

/// Which forms are dropped when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionLevel {
    /// Forms that were never used.
    Mild,
    /// Also forms that were not used since they were last examined at this level.
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

/// A stored form, whose bytes count until it is dropped.
#[derive(Debug)]
pub(super) struct KeptForm<T> {
    form: T,
    id: FormId,
    #[expect(dead_code, reason = "held for its drop")]
    counted: CountedMemory,
    used: Used,
}

impl<T: Clone> KeptForm<T> {
    /// The form, as the source of another form.
    pub(super) fn form(&self) -> T {
        self.form.clone()
    }

    /// The form, which is used for a response.
    pub(super) fn used(&mut self) -> T {
        self.used = Used::Lately;
        self.form.clone()
    }
}

impl<T> KeptForm<T> {
    /// Stores a form of this many bytes, whether or not it fits.
    pub(super) fn new(form: T, id: FormId, bytes: usize, room: &FormRoom) -> Self {
        Self { form, id, counted: CountedMemory::new(bytes as u64, &room.kept), used: Used::Never }
    }

    /// Whether this is the form with this id.
    pub(super) fn is(&self, id: FormId) -> bool {
        self.id == id
    }

    /// Examines the form when room is needed. Returns whether it stays.
    pub(super) const fn survives(&mut self, level: EvictionLevel) -> bool {
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

/// Bytes as they arrived, until they are deflated.
#[derive(Debug)]
pub(super) struct Fresh {
    bytes: Bytes,
    counted: Option<CountedMemory>,
}

impl Fresh {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { bytes, counted: None }
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Counts the bytes in a room until they are dropped.
    pub(super) fn count(&mut self, room: &FormRoom) {
        self.counted = Some(CountedMemory::new(self.bytes.len() as u64, &room.fresh));
    }
}
