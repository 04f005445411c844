use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::held_forms::{HeldForms, SharedForms};
use super::kept_form::{DerivedForm, EvictionLevel, FormId, FormRoom, KeptForm};

/// How many forms are examined to make room for one.
const EXAMINED: usize = 4;

/// Only one new form in this many may replace forms that have been used.
///
/// Otherwise, if a history that does not fit is read again and again, each of its forms would be replaced just before it is
/// used again. So most forms stay, and the budget adapts to a change of demand a little later.
const PATIENCE: u32 = 8;

/// The budget for derived forms, which are kept in addition to entries and can be made again: the room that entries leave in
/// the cache.
///
/// A new form replaces forms that were never used, and sometimes forms that have not been used for long. If there are none
/// among the examined ones, the new form is not kept.
#[derive(Debug, Default)]
pub struct DerivedBudget {
    room: FormRoom,
    forms: Mutex<FormQueue>,
}

#[derive(Debug)]
struct Queued {
    forms: Weak<Mutex<HeldForms>>,
    derived: DerivedForm,
    id: FormId,
}

impl Queued {
    fn is_kept(&self) -> bool {
        self.check(|forms| forms.keeps(self.derived, self.id))
    }

    /// Examines the form when room is needed. Returns whether it stays; otherwise it is dropped.
    fn survives(&self, level: EvictionLevel) -> bool {
        self.check(|forms| forms.survives(self.derived, self.id, level))
    }

    fn check(&self, is_there: impl FnOnce(&mut HeldForms) -> bool) -> bool {
        let forms = self.forms.upgrade();
        forms.is_some_and(|forms| is_there(&mut forms.lock()))
    }
}

#[derive(Debug, Default)]
struct FormQueue {
    /// All forms that are kept, and some that are gone. The front is examined next.
    queue: VecDeque<Queued>,
    latest: FormId,
    /// The number of new forms that found no room since one could last replace used forms.
    rejected: u32,
    /// The length of the queue at which forms that are gone are removed from it.
    pruned_at: usize,
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
        DerivedStats { kept: self.room.kept.load(Relaxed), fresh: self.room.fresh.load(Relaxed) }
    }

    /// The number of forms in the queue.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.forms.lock().queue.len()
    }

    /// Sets the size of the budget, and drops forms that exceed it.
    pub fn set_most(&self, bytes: u64) {
        self.room.most.store(bytes, Relaxed);
        if self.room.has_room(0) {
            return;
        }
        let mut forms = self.forms.lock();
        // Two rounds, because a used form survives the first one.
        let mut left = 2 * forms.queue.len();
        while left > 0 && !self.room.has_room(0) {
            forms.turn(EvictionLevel::Strict);
            left -= 1;
        }
    }

    /// Keeps a form of this many bytes if there is room or other forms can be dropped.
    pub(super) fn keep<T>(
        &self,
        of: &SharedForms,
        derived: DerivedForm,
        form: T,
        bytes: usize,
    ) -> Option<KeptForm<T>> {
        self.make_room(bytes);
        self.keep_if_free(of, derived, form, bytes)
    }

    /// Keeps a form of this many bytes if no other form has to be dropped.
    pub(super) fn keep_if_free<T>(
        &self,
        of: &SharedForms,
        derived: DerivedForm,
        form: T,
        bytes: usize,
    ) -> Option<KeptForm<T>> {
        let mut forms = self.forms.lock();
        if !self.room.has_room(bytes) {
            return None;
        }
        let id = forms.add(of, derived);
        Some(KeptForm::new(form, id, bytes, &self.room))
    }

    /// Examines a few forms if this many bytes don't fit, and drops those that don't survive.
    fn make_room(&self, bytes: usize) {
        if self.room.has_room(bytes) {
            return;
        }
        let mut forms = self.forms.lock();
        forms.rejected = (forms.rejected + 1) % PATIENCE;
        let level = if forms.rejected == 0 { EvictionLevel::Strict } else { EvictionLevel::Mild };
        for _ in 0..EXAMINED {
            if self.room.has_room(bytes) {
                break;
            }
            forms.turn(level);
        }
    }

    /// The room that forms take.
    pub(super) const fn room(&self) -> &FormRoom {
        &self.room
    }
}

impl FormQueue {
    /// Examines the form at the front, and puts it at the back if it survives.
    fn turn(&mut self, level: EvictionLevel) {
        let Some(queued) = self.queue.pop_front() else { return };
        if queued.survives(level) {
            self.queue.push_back(queued);
        }
    }

    fn add(&mut self, of: &SharedForms, derived: DerivedForm) -> FormId {
        const FEW: usize = 64;
        if self.queue.len() >= self.pruned_at.max(FEW) {
            self.queue.retain(Queued::is_kept);
            self.pruned_at = 2 * self.queue.len();
        }
        self.latest.0 += 1;
        self.queue.push_back(Queued { forms: Arc::downgrade(of), derived, id: self.latest });
        self.latest
    }
}
