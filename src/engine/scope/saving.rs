//! What is saved of a scope to the tier, and restored and fetched from it.
//!
//! A change marks the weeks that it touches. Some time later those weeks are written as they are known then, so a row that was
//! read ten times meanwhile is written once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Scope;
use super::cell_draft::{CellDraft, segment_of};
use super::unsaved::Saving;
use crate::domain::{Entry, EntryIndex, Span, Timestamp};
use crate::engine::coverage::Contents;
use crate::engine::terms::RowNeed;
use crate::store::{EntryKey, Store};
use crate::tier::{Cell, ScopeChanges, TierScope};

/// The most weeks that are written at once.
const MOST_WEEKS: usize = 8;

/// The most entries whose bytes are written at once: they stay in memory meanwhile, whatever the store drops.
const MOST_ENTRIES: usize = 64;

impl Scope {
    /// From now on, notes what is not saved.
    pub(in crate::engine) fn track(&self) {
        self.lock().unsaved.get_or_insert_default();
    }

    /// Whose executions these are, for the tier.
    pub(in crate::engine) const fn tier_scope(&self) -> TierScope {
        TierScope { key: self.key, agent: self.subject.agent, credential: self.subject.credential.id() }
    }

    /// Whether anything known was read then or before.
    pub(in crate::engine) fn was_read_before(&self, at: Timestamp) -> bool {
        let all = Span::new(Timestamp::MIN, Timestamp::MAX);
        let known = self.lock();
        all.is_some_and(|all| known.coverage.overlapping(all).any(|segment| segment.read_at <= at))
    }

    /// What is to be saved next; `None` if nothing changed.
    pub(in crate::engine) fn begin_saving(&self) -> Option<Saving> {
        let mut known = self.lock();
        let unsaved = known.unsaved.as_mut().filter(|unsaved| !unsaved.is_empty())?;
        let mut weeks = std::mem::take(&mut unsaved.weeks);
        // The newest first: they are asked for most.
        if weeks.len() > MOST_WEEKS {
            let first = weeks.iter().nth_back(MOST_WEEKS - 1).copied().unwrap_or_default();
            let later = weeks.split_off(&first);
            unsaved.weeks = std::mem::replace(&mut weeks, later);
        }
        // Of weeks that are not written now, what is kept goes first all the same: what is gone may not come back.
        let forgotten = std::mem::take(&mut unsaved.forgotten);
        let (mut cells, mut rows) = (Vec::new(), Vec::new());
        let mut left = BTreeSet::new();
        for week in weeks.iter().rev().copied() {
            let mut draft = CellDraft::new(week);
            for segment in known.coverage.overlapping(draft.span) {
                draft.add(segment, &mut rows);
            }
            if rows.len() > MOST_ENTRIES && !cells.is_empty() {
                rows.truncate(rows.len() - draft.new_entries);
                left.insert(week);
            } else {
                cells.push(draft.cell);
            }
        }
        weeks.retain(|week| !left.contains(week));
        if let Some(unsaved) = &mut known.unsaved {
            unsaved.weeks.append(&mut left);
        }
        Some(Saving { changes: Arc::new(ScopeChanges { forgotten, cells, rows }), weeks })
    }

    /// Ends what [`begin_saving`](Self::begin_saving) began. What was not written is to be written later.
    pub(in crate::engine) fn end_saving(&self, saving: Saving, is_saved: bool) {
        let mut known = self.lock();
        if is_saved {
            let keys: HashSet<EntryKey> = saving.changes.rows.iter().map(|(key, _)| *key).collect();
            known.coverage.set_saved(&keys, true);
        } else if let Some(unsaved) = &mut known.unsaved {
            let mut weeks = saving.weeks;
            unsaved.weeks.append(&mut weeks);
            saving.changes.forgotten.iter().for_each(|gone| unsaved.forget(*gone));
        }
    }

    /// Takes over what the tier kept, unless something is known already.
    pub(in crate::engine) fn adopt(&self, store: &dyn Store, cells: Vec<Cell>) {
        let mut known = self.lock();
        if known.is_closed || !known.coverage.is_empty() {
            return;
        }
        // An entry may have rows in two weeks.
        let mut indexes: HashMap<EntryKey, Arc<EntryIndex>> = HashMap::new();
        for cell in cells {
            for entry in &cell.entries {
                indexes.entry(entry.key).or_insert_with(|| {
                    store.count_index(&entry.index);
                    Arc::clone(&entry.index)
                });
            }
            for kept in cell.segments {
                if let Some(segment) = segment_of(&kept, &cell.entries, &indexes) {
                    let _nothing_was_known = known.coverage.replace(segment.span, vec![segment]);
                }
            }
        }
    }

    /// The entries in the topmost parts of a span of which only the tier has what is needed, newest first, at most so many.
    pub(in crate::engine) fn saved_only(
        &self,
        span: Span,
        need: &RowNeed,
        most: usize,
    ) -> Vec<(EntryKey, Arc<EntryIndex>)> {
        let known = self.lock();
        let mut found: Vec<(EntryKey, Arc<EntryIndex>)> = Vec::new();
        for segment in known.coverage.overlapping(span) {
            if !segment.is_only_saved(need) {
                if found.is_empty() {
                    break;
                }
            } else if let Contents::Rows { key, index, .. } = &segment.contents
                && found.iter().all(|(other, _)| other != key)
            {
                found.push((*key, Arc::clone(index)));
            }
            if found.len() >= most {
                break;
            }
        }
        found
    }

    /// Takes in what the tier has of entries: their bytes, or that it does not have them.
    pub(in crate::engine) fn fetched(
        &self,
        store: &dyn Store,
        span: Span,
        entries: Vec<(EntryKey, Option<Arc<Entry>>)>,
    ) -> Vec<Arc<Entry>> {
        let mut known = self.lock();
        let lost = entries.iter().filter(|(_, entry)| entry.is_none()).map(|(key, _)| *key).collect();
        known.coverage.set_saved(&lost, false);
        let mut fetched = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let Some(entry) = entry.filter(|_| known.coverage.uses(&key)) else { continue };
            store.put(key, self.holder, Arc::clone(&entry));
            known.coverage.attach(span, &key, &entry);
            fetched.push(entry);
        }
        fetched
    }
}
