//! What is known about one credential, agent and set of filters, and the reads in progress for it.
//!
//! The lock is held for planning and for adding a piece, never over an await. A closed scope (its key was
//! refused, its agent is gone, it was purged, or it made room for others) accepts nothing more, but a read in
//! progress still serves its waiters.

mod cell_draft;
mod claimed;
mod head;
mod merge;
mod present;
mod quiet;
mod registry;
mod revalidation;
mod room;
mod route;
mod run;
mod saving;
mod settle;
mod turns;
mod unsaved;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use self::claimed::ClaimedSpans;
use self::head::ScopeHead;
pub(super) use self::present::{Present, known_present};
pub(super) use self::quiet::quiet_for;
pub(super) use self::registry::{Scopes, key_of, tier_scope_of};
pub(super) use self::revalidation::Revalidation;
pub(super) use self::room::make_room;
pub(super) use self::route::{Picking, Routed, route};
pub(super) use self::run::Reads;
pub(super) use self::turns::{DueElsewhere, adopt_news, look_for_news};
use self::unsaved::Unsaved;
pub(super) use self::view::View;
use super::coverage::{Contents, Coverage, CoverageChange, Piece, Segment, StoredChunk, chunks};
use super::freshness::{Policy, Stagger};
use super::proof::{DateSupport, Learned};
use super::reading::{Keep, Purpose, Reading};
use super::terms::RowNeed;
use crate::domain::{
    CallerId, Credential, Entry, EntryRow, EntrySlice, NewRow, RowChange, RowId, Span, Status, Timestamp,
};
use crate::source::Subject;
use crate::store::{EntryOwner, ScopeKey, Store};

pub(super) struct Scope {
    pub(super) key: ScopeKey,
    /// The caller that it was created for. Its entries count as that caller's.
    holder: CallerId,
    /// Staggers the due times of what is known.
    pub(super) stagger: Stagger,
    pub(super) subject: Subject,
    pub(super) learned: Learned,
    credential: Mutex<Credential>,
    asked_at: AtomicI64,
    /// When a caller last asked for the rows of one status.
    asked_by_status_at: AtomicI64,
    known: Mutex<Known>,
    /// Everything that was saved to the tier until this version is known here, or was.
    tier_version: AtomicU64,
}

/// What is known, under the scope's lock.
#[derive(Default)]
pub(super) struct Known {
    pub(super) coverage: Coverage,
    pub(super) readings: Vec<Arc<Reading>>,
    pub(super) head: Option<ScopeHead>,
    /// The stale answers that are being refreshed in the background.
    pub(super) revalidations: Vec<Revalidation>,
    /// Whether settled rows are being renewed in the background.
    pub(super) is_renewing: bool,
    is_closed: bool,
    /// What the tier does not have yet; `None` without a tier.
    unsaved: Option<Unsaved>,
    /// What other processes leave to this one.
    claimed: ClaimedSpans,
}

/// How long a scope counts as in use after a question.
const ASKING_FOR: Duration = Duration::from_secs(60);

fn is_lately(asked_at: &AtomicI64, now: Timestamp) -> bool {
    now.since(Timestamp::from_micros(asked_at.load(Ordering::Relaxed))) <= ASKING_FOR
}

impl Scope {
    pub(super) fn new(owner: EntryOwner, stagger: Stagger, subject: Subject, dates: DateSupport) -> Self {
        Self {
            key: owner.scope,
            holder: owner.holder,
            stagger,
            credential: Mutex::new(subject.credential.clone()),
            subject,
            learned: Learned::nothing(dates),
            asked_at: AtomicI64::new(0),
            asked_by_status_at: AtomicI64::new(0),
            known: Mutex::default(),
            tier_version: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// The credential for requests about this scope: that of the latest caller.
    ///
    /// A held key may be replaced while its scopes stay, so the one in [`Self::subject`] may be outdated.
    pub(super) fn credential(&self) -> Credential {
        self.credential.lock().clone()
    }

    /// Records the credential of a caller. It has the same name as the one before.
    pub(super) fn come_with(&self, credential: &Credential) {
        *self.credential.lock() = credential.clone();
    }

    /// Records that a caller asks.
    pub(super) fn touch(&self, now: Timestamp) {
        self.asked_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Whether any read is in progress.
    pub(super) fn is_reading(&self) -> bool {
        self.lock().readings.iter().any(|reading| reading.is_open())
    }

    /// The time since the last question.
    fn idle(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_micros(self.asked_at.load(Ordering::Relaxed)))
    }

    /// Whether a caller asked recently.
    pub(super) fn is_asked(&self, now: Timestamp) -> bool {
        is_lately(&self.asked_at, now)
    }

    /// Records that a caller asks for the rows of one status, which are selected here.
    pub(super) fn touch_by_status(&self, now: Timestamp) {
        self.asked_by_status_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Whether a caller recently asked for the rows of one status.
    pub(super) fn is_asked_by_status(&self, now: Timestamp) -> bool {
        is_lately(&self.asked_by_status_at, now)
    }

    /// Forgets everything and accepts nothing more.
    pub(super) fn close(&self, store: &dyn Store) {
        let mut known = self.lock();
        known.is_closed = true;
        // What is saved stays there. A purge and a refused key leave a mark that voids it.
        known.unsaved = None;
        drop(known);
        self.unlearn(store);
    }

    /// Forgets a span.
    pub(super) fn unlearn_span(&self, store: &dyn Store, span: Span) {
        let (mut known, mut change) = (self.lock(), CoverageChange::default());
        known.replace(span, Vec::new(), Timestamp::MAX, &mut change);
        known.apply(change, store, self.holder);
    }

    /// The number of known rows within a span.
    pub(super) fn known_rows(&self, span: Span) -> usize {
        self.lock().coverage.overlapping(span).map(Segment::len).sum()
    }

    /// Forgets everything.
    pub(super) fn unlearn(&self, store: &dyn Store) {
        let mut known = self.lock();
        known.head = None;
        if let Some(unsaved) = &mut known.unsaved {
            unsaved.forget_all();
        }
        for key in known.coverage.clear() {
            store.remove(&key);
        }
    }

    /// The known rows at the top of a span, as far down as one segment reaches, with the span that they
    /// cover; `None` if nothing is kept there.
    pub(super) fn take(
        &self,
        store: &dyn Store,
        span: Span,
        need: &RowNeed,
    ) -> Option<(Span, Option<EntrySlice>)> {
        let segment = self.lock().coverage.at(span.to())?.clone();
        let part = segment.span.intersection(span)?;
        let clipped = segment.clipped(part)?;
        let Contents::Rows { key, index, entry, rows, .. } = clipped.contents else {
            return Some((part, None));
        };
        let entry = match (entry.upgrade(), need) {
            (Some(entry), RowNeed::Bytes) => {
                // Nothing is done with the answer: the store is asked so that it knows what is used.
                let _used = store.get(&key);
                entry
            }
            (Some(entry), RowNeed::Facts | RowNeed::Columns(_)) => entry,
            (None, RowNeed::Bytes) => return None,
            (None, RowNeed::Facts) => Arc::new(Entry::without_bytes(&index)),
            (None, RowNeed::Columns(ids)) => Arc::new(Entry::of_columns(&index, ids)?),
        };
        Some((part, EntrySlice::all(entry, rows)))
    }

    /// Adds a proven piece to the coverage, and returns its rows.
    ///
    /// What was read after the piece was requested stays. The last `commit_lag` before the request becomes a
    /// provisional segment of its own. A piece with rows without a date is kept undivided.
    pub(super) fn keep(
        &self,
        store: &dyn Store,
        piece: &Piece,
        reading: &Reading,
        commit_lag: Duration,
        policy: &Policy,
    ) -> Vec<EntrySlice> {
        let merged = self.lock().with_newer(piece);
        let piece = merged.as_ref().unwrap_or(piece);
        // By whichever clock is behind: what was learned of upstream's may be wrong.
        let trusted_to = piece.asked_at.upstream.min(piece.asked_at.ours).minus(commit_lag);
        let chunks = chunks(piece, trusted_to);
        let stored: Vec<StoredChunk> =
            chunks.into_iter().map(|chunk| StoredChunk::new(self.key, chunk, piece.asked_at.ours)).collect();
        if reading.keep == Keep::Yes && reading.purpose == Purpose::Fill {
            self.put(store, &stored, piece, reading, policy);
        }
        stored
            .into_iter()
            .filter_map(|stored| EntrySlice::all(Arc::clone(&stored.entry?), stored.rows))
            .collect()
    }

    fn put(
        &self,
        store: &dyn Store,
        stored: &[StoredChunk],
        piece: &Piece,
        reading: &Reading,
        policy: &Policy,
    ) {
        let asked_at = piece.asked_at;
        let mut known = self.lock();
        if known.is_closed {
            return;
        }
        // It may have waited for its turn, or be read again: what is newer than its end was not asked for.
        let head = reading.head_pinned_at.filter(|_| piece.span.to() == reading.span.to());
        let head_read_at = head.map(|pinned_at| asked_at.ours.min(pinned_at));
        if let Some(read_at) = head_read_at
            && known.head.is_none_or(|head| head.read_at < read_at)
        {
            known.head = Some(ScopeHead { to: piece.span.to(), read_at });
        }
        let mut change = CoverageChange::default();
        for stored in stored {
            let newer: Vec<Span> = known
                .coverage
                .overlapping(stored.segment.span)
                .filter(|segment| segment.latest_read_at > asked_at.ours)
                .map(|segment| segment.span)
                .collect();
            if let (Some(key), Some(entry)) = (stored.segment.key(), &stored.entry) {
                let before = known.coverage.overlapping(stored.segment.span).filter_map(Segment::index);
                change.add(key, entry, before.map(Arc::clone).collect());
            }
            for part in stored.segment.span.without_all(&newer) {
                if let Some(segment) = stored.segment.clipped(part) {
                    known.settle(self.key, segment, reading, policy, &mut change);
                }
            }
        }
        known.apply(change, store, self.holder);
    }

    /// Applies the result of a probe: all rows of `status` within `piece.span`. Known rows among them are up
    /// to date again; known rows of that status that are not among them have left it, and are doubted. Rows
    /// that were read after the probe was sent stay as they are.
    pub(super) fn patch(&self, store: &dyn Store, piece: &Piece, status: &Status) {
        let mut known = self.lock();
        if known.is_closed {
            return;
        }
        let mut fresh: std::collections::HashMap<&RowId, &NewRow> =
            piece.rows.iter().map(|row| (&row.row.id, row)).collect();
        let segments: Vec<Segment> = known.coverage.overlapping(piece.span).cloned().collect();
        let mut change = CoverageChange::default();
        for segment in segments {
            let is_meant = |row: EntryRow<'_>| {
                fresh.contains_key(&row.id())
                    || (piece.span.contains(row.created_at) && row.status == Some(status))
            };
            if !segment.facts().is_some_and(|rows| rows.iter().any(is_meant)) {
                continue;
            }
            let mut is_changed = false;
            let mut probed = |row: &EntryRow<'_>| {
                let now = fresh.remove(&row.id());
                if row.read_at >= piece.asked_at.ours {
                    return RowChange::None;
                }
                let has_left = piece.span.contains(row.created_at) && row.status == Some(status);
                let change = match now {
                    Some(now) => RowChange::Row(now),
                    None if has_left && !row.is_doubted => RowChange::Doubted,
                    None => RowChange::None,
                };
                is_changed |= !matches!(change, RowChange::None);
                change
            };
            let Contents::Rows { index, rows, .. } = &segment.contents else { continue };
            // Only bytes that have to be stored again are looked for: they may be deflated.
            let taken = segment.rows().and_then(|(entry, rows)| entry.take_rows(rows).ok());
            let contents = match taken {
                Some(mut taken) => {
                    for (row, known) in taken.iter_mut().zip(index.rows().slice(rows.clone()).iter()) {
                        row.change(probed(&known));
                    }
                    is_changed.then(|| change.make(self.key, &taken, vec![Arc::clone(index)]))
                }
                None => {
                    let changed = index.changed(rows.clone(), probed);
                    is_changed.then(|| change.make_bare(self.key, changed, Arc::clone(index)))
                }
            };
            if let Some(contents) = contents {
                let until = segment.latest_read_at;
                known.replace(segment.span, vec![Segment { contents, ..segment }], until, &mut change);
            }
        }
        known.apply(change, store, self.holder);
    }
}

#[cfg(test)]
mod tests;
