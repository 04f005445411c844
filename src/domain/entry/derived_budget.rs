use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::Entry;
use crate::deflate::Separator;

/// How many forms are examined to make room for one.
const LOOKED_AT: usize = 4;

/// Only one new form in this many may replace forms that have been used.
///
/// Otherwise, if a history that does not fit is read over and over, each of its forms would be replaced just before it is
/// used again. So most forms stay, and the budget follows a change of demand a little later.
const PATIENCE: u32 = 8;

/// The budget for derived forms, which are kept in addition to entries and can be made again: the room that entries leave in
/// the cache.
///
/// A new form replaces forms that were never used, and sometimes forms that have not been used for long. If there are none
/// among those that are examined, the new form is not kept.
#[derive(Debug, Default)]
pub struct DerivedBudget {
    most: AtomicU64,
    kept: AtomicU64,
    fresh: AtomicU64,
    forms: Mutex<FormQueue>,
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
pub(super) struct FormId(u64);

#[derive(Debug)]
struct Queued {
    entry: Weak<Entry>,
    derived: DerivedForm,
    id: FormId,
}

impl Queued {
    fn is_kept(&self) -> bool {
        self.entry.upgrade().is_some_and(|entry| entry.forms.keeps(self.derived, self.id))
    }
}

#[derive(Debug, Default)]
struct FormQueue {
    /// All forms that are kept, and some that are gone. The front is examined next.
    queue: VecDeque<Queued>,
    latest: FormId,
    /// The number of new forms since one could replace a used form.
    rejected: u32,
    /// The length at which forms that are gone are removed.
    sorted_at: usize,
}

/// What the budget holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DerivedStats {
    /// Bytes of derived forms.
    pub kept: u64,
    /// Bytes of entries that are not deflated yet.
    pub fresh: u64,
}

impl DerivedBudget {
    /// Returns what the budget holds now.
    pub fn stats(&self) -> DerivedStats {
        DerivedStats { kept: self.kept.load(Relaxed), fresh: self.fresh.load(Relaxed) }
    }

    /// The number of forms in the queue.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Sets the size of the budget, and drops forms that exceed it.
    pub fn set_most(&self, bytes: u64) {
        self.most.store(bytes, Relaxed);
        if self.has_room(0) {
            return;
        }
        let mut forms = self.lock();
        // Two rounds, because used forms first lose their mark.
        let mut left = 2 * forms.queue.len();
        while left > 0 && !self.has_room(0) {
            forms.turn(EvictionLevel::Strict);
            left -= 1;
        }
    }

    /// Keeps a form of this many bytes if there is room or other forms can be dropped.
    pub(super) fn keep<T>(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        derived: DerivedForm,
        form: T,
        bytes: usize,
    ) -> Option<KeptForm<T>> {
        let mut forms = self.lock();
        if !self.has_room(bytes) {
            forms.rejected = (forms.rejected + 1) % PATIENCE;
            let level = if forms.rejected == 0 { EvictionLevel::Strict } else { EvictionLevel::Mild };
            for _ in 0..LOOKED_AT {
                if self.has_room(bytes) {
                    break;
                }
                forms.turn(level);
            }
        }
        self.keep_among(&mut forms, entry, derived, form, bytes)
    }

    /// Keeps a form of this many bytes if no other form has to be dropped.
    pub(super) fn keep_if_free<T>(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        derived: DerivedForm,
        form: T,
        bytes: usize,
    ) -> Option<KeptForm<T>> {
        self.keep_among(&mut self.lock(), entry, derived, form, bytes)
    }

    fn keep_among<T>(
        self: &Arc<Self>,
        forms: &mut FormQueue,
        entry: &Arc<Entry>,
        derived: DerivedForm,
        form: T,
        bytes: usize,
    ) -> Option<KeptForm<T>> {
        if !self.has_room(bytes) {
            return None;
        }
        let id = forms.add(Arc::downgrade(entry), derived);
        let bytes = bytes as u64;
        self.kept.fetch_add(bytes, Relaxed);
        Some(KeptForm {
            form,
            id,
            place: Reservation { bytes, derived_budget: Arc::clone(self) },
            used: Used::Never,
        })
    }

    fn has_room(&self, length: usize) -> bool {
        self.kept.load(Relaxed).saturating_add(length as u64) <= self.most.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, FormQueue> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FormQueue {
    /// Looks at the form in front: gives it up, or puts it at the back.
    fn turn(&mut self, level: EvictionLevel) {
        let Some(queued) = self.queue.pop_front() else { return };
        let Queued { entry, derived, id } = &queued;
        if entry.upgrade().is_some_and(|entry| entry.forms.spares(*derived, *id, level)) {
            self.queue.push_back(queued);
        }
    }

    fn add(&mut self, entry: Weak<Entry>, derived: DerivedForm) -> FormId {
        const FEW: usize = 64;
        if self.queue.len() >= self.sorted_at.max(FEW) {
            self.queue.retain(Queued::is_kept);
            self.sorted_at = 2 * self.queue.len();
        }
        self.latest.0 += 1;
        self.queue.push_back(Queued { entry, derived, id: self.latest });
        self.latest
    }
}

/// How forms are looked at when room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionLevel {
    /// Those go that were never used.
    Mild,
    /// Those go that were not used since they were looked at like this last.
    Strict,
}

/// When a form was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Never,
    /// Before it was looked at strictly last.
    Before,
    Lately,
}

/// A form that is kept; it leaves its room when it is dropped.
#[derive(Debug)]
pub(super) struct KeptForm<T> {
    form: T,
    id: FormId,
    #[expect(dead_code, reason = "held for its drop")]
    place: Reservation,
    used: Used,
}

impl<T: Clone> KeptForm<T> {
    /// The form, for somebody who makes another of it.
    pub(super) fn form(&self) -> T {
        self.form.clone()
    }

    /// The form, for somebody who needs it as it is.
    pub(super) fn used(&mut self) -> T {
        self.used = Used::Lately;
        self.form.clone()
    }
}

impl<T> KeptForm<T> {
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

/// Bytes that are taken in a room, until it is dropped.
#[derive(Debug)]
struct Reservation {
    bytes: u64,
    derived_budget: Arc<DerivedBudget>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.derived_budget.kept.fetch_sub(self.bytes, Relaxed);
    }
}

/// Bytes as they came, until they are deflated.
#[derive(Debug)]
pub(super) struct Fresh {
    bytes: Bytes,
    counted_in: Option<Arc<DerivedBudget>>,
}

impl Fresh {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { bytes, counted_in: None }
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Counts them in a room, until they are dropped.
    pub(super) fn count(&mut self, derived_budget: &Arc<DerivedBudget>) {
        derived_budget.fresh.fetch_add(self.bytes.len() as u64, Relaxed);
        self.counted_in = Some(Arc::clone(derived_budget));
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(derived_budget) = &self.counted_in {
            derived_budget.fresh.fetch_sub(self.bytes.len() as u64, Relaxed);
        }
    }
}
