//! What is saved of a scope to the tier, and restored and fetched from it.
//!
//! A change marks the weeks that it touches. Some time later those weeks are written as they are known then, so a row that was
//! read ten times meanwhile is written once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::cell_draft::{CellDraft, segment_of};
use super::head::ScopeHead;
use super::unsaved::Saving;
use super::{Known, Scope};
use crate::domain::{AgentFacts, Entry, EntryIndex, Span, Status, Timestamp};
use crate::engine::coverage::{Contents, Segment, Trust};
use crate::engine::terms::RowNeed;
use crate::store::{EntryKey, Store};
use crate::tier::{KnownAge, Saved, ScopeChanges, Tier, TierNews, TierScope, TierVersion, week_of};

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

    /// The weeks that are to be saved, perhaps none if something is only to be forgotten; `None` if nothing changed.
    pub(in crate::engine) fn unsaved_weeks(&self) -> Option<BTreeSet<i64>> {
        let known = self.lock();
        known.unsaved.as_ref().filter(|unsaved| !unsaved.is_empty()).map(|unsaved| unsaved.weeks.clone())
    }

    /// What is to be saved next, of some weeks of an agent.
    pub(in crate::engine) fn begin_saving(
        &self,
        of: &BTreeSet<i64>,
        agent: Option<AgentFacts>,
    ) -> Option<Saving> {
        let mut known = self.lock();
        let unsaved = known.unsaved.as_mut()?;
        // The newest first: they are asked for most.
        let mut weeks: BTreeSet<i64> =
            of.iter().rev().filter(|week| unsaved.weeks.contains(week)).take(MOST_WEEKS).copied().collect();
        unsaved.weeks.retain(|week| !weeks.contains(week));
        // Of weeks that are not written now, what is kept goes first all the same: what is gone may not come back.
        let forgotten = std::mem::take(&mut unsaved.forgotten);
        let (mut cells, mut rows) = (Vec::new(), Vec::new());
        let mut left = BTreeSet::new();
        for week in weeks.iter().rev().copied() {
            let mut draft = CellDraft::new(week);
            for segment in known.coverage.overlapping(draft.span) {
                draft.add(segment, &mut rows);
            }
            draft.cell.head =
                known.head.map(|head| head.to_cell(agent)).filter(|head| week_of(head.to) == week);
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
    pub(in crate::engine) fn end_saving(&self, saving: Saving, saved: Saved) {
        let mut known = self.lock();
        match saved {
            Saved::Yes { before, after } => {
                let keys: HashSet<EntryKey> = saving.changes.rows.iter().map(|(key, _)| *key).collect();
                known.coverage.set_saved(&keys, true);
                // Else somebody else saved in between: that is still to be looked at.
                let _other = self.tier_version.compare_exchange(before, after, Relaxed, Relaxed);
            }
            Saved::No => {
                if let Some(unsaved) = &mut known.unsaved {
                    let mut weeks = saving.weeks;
                    unsaved.weeks.append(&mut weeks);
                    saving.changes.forgotten.iter().for_each(|gone| unsaved.forget(*gone));
                }
            }
        }
    }

    /// Up to which version everything that was saved to the tier is known here.
    pub(in crate::engine) fn tier_version(&self) -> TierVersion {
        self.tier_version.load(Relaxed)
    }

    /// What was read in turn: others may read it once what is known here is saved.
    pub(in crate::engine) fn take_turns_over(&self) -> Vec<Span> {
        self.lock().claimed.take_over()
    }

    /// Takes over what the tier kept, wherever nothing newer is known. Says whether anything new is known.
    pub(in crate::engine) fn adopt(&self, store: &dyn Store, news: TierNews) -> bool {
        let mut known = self.lock();
        let mut has_learned = false;
        if known.is_closed {
            return has_learned;
        }
        // An entry may have rows in two weeks.
        let mut indexes: HashMap<EntryKey, Arc<EntryIndex>> = HashMap::new();
        for cell in news.cells {
            for entry in &cell.entries {
                indexes.entry(entry.key).or_insert_with(|| Arc::clone(&entry.index));
            }
            if let Some(head) = cell.head.map(ScopeHead::of_cell)
                && known.head.is_none_or(|known| known.read_at < head.read_at)
            {
                known.head = Some(head);
                has_learned = true;
            }
            for kept in cell.segments {
                if let Some(segment) = segment_of(&kept, &cell.entries, &indexes) {
                    has_learned |= known.adopt(store, &segment);
                }
            }
        }
        self.tier_version.fetch_max(news.version, Relaxed);
        has_learned
    }

    /// The entries in the topmost parts of a span of which only the tier has what is needed, newest first, at most so many.
    pub(in crate::engine) fn saved_only(
        &self,
        span: Span,
        need: &RowNeed,
        most: usize,
    ) -> Vec<(EntryKey, Arc<EntryIndex>)> {
        let known = self.lock();
        let is_meant = |segment: &&Segment| segment.is_only_saved(need);
        let mut segments = known.coverage.overlapping(span).peekable();
        if segments.peek().is_none_or(|topmost| !is_meant(topmost)) {
            return Vec::new();
        }
        distinct_entries(segments.filter(is_meant), most)
    }

    /// The entries with rows of a status of which only the tier has the bytes, newest first, at most so many.
    pub(in crate::engine) fn saved_only_of_status(
        &self,
        span: Span,
        status: &Status,
        most: usize,
    ) -> Vec<(EntryKey, Arc<EntryIndex>)> {
        let known = self.lock();
        let is_meant = |segment: &&Segment| {
            let mut rows = segment.facts_within(span).into_iter().flat_map(|rows| rows.iter());
            segment.is_only_saved(&RowNeed::Bytes) && rows.any(|row| row.status == Some(status))
        };
        distinct_entries(known.coverage.overlapping(span).filter(is_meant), most)
    }

    /// Fetches entries from the tier, for segments of a span. Those that it does not have (any more) are a gap from then on.
    pub(in crate::engine) async fn fetch(
        &self,
        tier: &dyn Tier,
        store: &dyn Store,
        span: Span,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> Vec<Arc<Entry>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
        let found = tier.load_rows(&self.tier_scope(), entries).await;
        let entries: Vec<_> = keys.into_iter().zip(found).collect();
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

impl Known {
    /// Puts what the tier kept in the place of what is known, except where that is as new. What is known for a short time only
    /// gives way to anything that was read later.
    fn adopt(&mut self, store: &dyn Store, segment: &Segment) -> bool {
        let is_as_new = |own: &&Segment| match own.trust {
            Trust::Provisional => segment.latest_read_at <= own.latest_read_at,
            Trust::Proven | Trust::Indivisible => {
                let both = segment.span.intersection(own.span).unwrap_or(own.span);
                !age(segment, both).is_newer_than(&age(own, both))
            }
        };
        let kept: Vec<Span> =
            self.coverage.overlapping(segment.span).filter(is_as_new).map(|own| own.span).collect();
        let mut has_learned = false;
        for part in segment.span.without_all(&kept) {
            let Some(part) = segment.clipped(part) else { continue };
            if let Contents::Rows { index, .. } = &part.contents {
                store.count_index(index);
            }
            for reading in self.readings.iter().filter(|one| one.span.intersection(part.span).is_some()) {
                reading.turn.has_news.store(true, Relaxed);
            }
            for key in self.coverage.replace(part.span, vec![part]) {
                store.remove(&key);
            }
            has_learned = true;
        }
        has_learned
    }
}

/// The entries of segments, each once, at most so many.
fn distinct_entries<'s>(
    segments: impl Iterator<Item = &'s Segment>,
    most: usize,
) -> Vec<(EntryKey, Arc<EntryIndex>)> {
    let mut found: Vec<(EntryKey, Arc<EntryIndex>)> = Vec::new();
    for segment in segments {
        if let Contents::Rows { key, index, .. } = &segment.contents
            && found.iter().all(|(other, _)| other != key)
        {
            found.push((*key, Arc::clone(index)));
            if found.len() >= most {
                break;
            }
        }
    }
    found
}

fn age(segment: &Segment, within: Span) -> KnownAge<'_> {
    let (oldest, latest) = (segment.read_at, segment.latest_read_at);
    KnownAge { oldest, latest, rows: segment.facts_within(within) }
}
