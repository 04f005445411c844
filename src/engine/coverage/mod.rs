//! What is known about one scope: disjoint segments of `created_at`, sorted, each with its rows and the time
//! of its read.
//!
//! Nothing here reads upstream or a clock. A proven piece [replaces](Coverage::replace) everything known
//! within its span: a row that it does not contain is gone. Segments hold the index of their rows, and refer
//! to the bytes weakly. To a question that needs bytes, a segment whose bytes the store has dropped is a gap,
//! which shows without asking the store.
//!
//! A newer piece may cut a part out of an older entry without storing the rest again, so two segments may
//! refer to two parts of one entry. They are counted, so that an entry without segments is released at once.
//!
//! Nothing here calls the store or the tier: a [`CoverageChange`] says what they have to do.

mod change;
mod layout;
mod piece;
mod segment;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub(super) use self::change::{CoverageChange, MadeEntry};
pub(super) use self::layout::{StoredChunk, chunks, joined};
pub(super) use self::piece::{Piece, digest, place};
pub(super) use self::segment::{Contents, LatestChange, Segment, Trust};

use crate::domain::{Entry, Span, Timestamp};
use crate::engine::terms::RowNeed;
use crate::store::EntryKey;

/// The most segments without rows that one scope keeps. Those that were read last stay.
///
/// The cache counts a segment with its entry, and drops both. Nothing else bounds the number of segments
/// without an entry: a caller that asks about one empty instant after another would fill the memory. A scope
/// that is read in windows has a few at most, because neighbors are joined.
const MOST_EMPTY: usize = 1024;

/// With fewer segments than this, none is dropped.
const FEW: usize = 64;

/// The segments of one scope.
///
/// # Invariants
/// No two segments overlap; each is filed under its `span.from()`.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    segments: BTreeMap<Timestamp, Segment>,
    uses: HashMap<EntryKey, usize>,
    /// The number of segments at which the surplus is dropped next.
    pruned_at: usize,
}

/// What [`Coverage::look`] finds at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum CoveragePart<'a> {
    /// Known, with everything that is needed of the rows.
    Known(&'a Segment),
    /// Not known.
    Gap(Span),
}

impl Coverage {
    /// What is known of a span with the bytes of its rows; see [`Self::look_for`].
    pub(super) fn look(&self, span: Span) -> Vec<CoveragePart<'_>> {
        self.look_for(span, &RowNeed::Bytes)
    }

    /// Everything within a span, newest first: known parts and the gaps between them, without overlaps and
    /// without holes. Segments that are partly within are returned whole, so their spans may reach beyond.
    pub(super) fn look_for(&self, span: Span, need: &RowNeed) -> Vec<CoveragePart<'_>> {
        let mut parts = Vec::new();
        let mut rest = Some(span);
        let gap = |parts: &mut Vec<CoveragePart<'_>>, span: Span| match parts.last_mut() {
            Some(CoveragePart::Gap(above)) => *above = above.union(span),
            Some(CoveragePart::Known(_)) | None => parts.push(CoveragePart::Gap(span)),
        };
        for segment in self.overlapping(span) {
            let Some(left) = rest else { break };
            if let Some(missing) = left.after(segment.span.to()) {
                gap(&mut parts, missing);
            }
            rest = left.before(segment.span.from());
            if segment.serves(span, need) {
                parts.push(CoveragePart::Known(segment));
            } else if let Some(gone) = left.intersection(segment.span) {
                gap(&mut parts, gone);
            }
        }
        if let Some(left) = rest {
            gap(&mut parts, left);
        }
        parts
    }

    /// The segment that contains an instant.
    pub(super) fn at(&self, instant: Timestamp) -> Option<&Segment> {
        let (_, segment) = self.segments.range(..=instant).next_back()?;
        (segment.span.contains(instant)).then_some(segment)
    }

    /// The segments that overlap a span, newest first.
    pub(super) fn overlapping(&self, span: Span) -> impl Iterator<Item = &Segment> {
        self.segments
            .range(..=span.to())
            .rev()
            .map(|(_, s)| s)
            .take_while(move |s| s.span.to() >= span.from())
    }

    /// Replaces everything known within a span by segments. The rest of the span becomes a gap. Returns the
    /// keys of entries that no segment refers to any more.
    pub(super) fn replace(&mut self, span: Span, new: Vec<Segment>) -> Vec<EntryKey> {
        let old: Vec<Timestamp> = self.overlapping(span).map(|s| s.span.from()).collect();
        let mut unused = Vec::new();
        for from in old {
            let Some(segment) = self.segments.remove(&from) else { continue };
            for left in segment.span.without(span) {
                if let Some(part) = segment.clipped(left) {
                    self.insert(part);
                }
            }
            self.release(&segment, &mut unused);
        }
        for segment in new {
            debug_assert!(span.covers(segment.span));
            self.insert(segment);
        }
        unused.retain(|key| !self.uses.contains_key(key));
        self.prune();
        unused
    }

    /// Drops the oldest of too many segments without rows. Looks at all segments each time that their number
    /// has doubled.
    fn prune(&mut self) {
        if self.segments.len() < self.pruned_at.max(FEW) {
            return;
        }
        let mut read: Vec<Timestamp> = self
            .segments
            .values()
            .filter(|segment| segment.len() == 0)
            .map(|segment| segment.read_at)
            .collect();
        let surplus = read.len().saturating_sub(MOST_EMPTY);
        read.sort_unstable();
        let oldest_kept = read.get(surplus).copied().filter(|_| surplus > 0);
        let is_useful = |segment: &Segment| {
            segment.len() > 0 || oldest_kept.is_none_or(|oldest| segment.read_at >= oldest)
        };
        self.segments.retain(|_, segment| is_useful(segment));
        self.pruned_at = self.segments.len() * 2;
    }

    /// The bytes of all columns.
    pub(super) fn column_bytes(&self) -> u64 {
        self.segments.values().map(Segment::column_bytes).sum()
    }

    /// Drops columns of the oldest rows until this many bytes are free; returns how many it freed.
    pub(super) fn shed_columns(&self, bytes: u64) -> u64 {
        let mut freed = 0;
        for index in self.segments.values().filter_map(Segment::index) {
            if freed >= bytes {
                break;
            }
            freed += index.column_bytes();
            index.drop_columns();
        }
        freed
    }

    /// The bytes of indexes whose rows have no bytes any more.
    pub(super) fn bare_index_bytes(&self) -> u64 {
        self.segments.values().map(Segment::bare_index_bytes).sum()
    }

    /// Forgets the oldest rows whose bytes are gone until this many bytes of indexes are free; returns how
    /// many it freed.
    pub(super) fn shed(&mut self, bytes: u64) -> u64 {
        let mut freed = 0;
        let mut bare = Vec::new();
        for (from, segment) in &self.segments {
            if freed >= bytes {
                break;
            }
            let weight = segment.bare_index_bytes();
            if weight > 0 {
                bare.push(*from);
                freed += weight;
            }
        }
        // The store has dropped their entries already.
        let mut unused = Vec::new();
        for from in bare {
            if let Some(segment) = self.segments.remove(&from) {
                self.release(&segment, &mut unused);
            }
        }
        freed
    }

    /// Removes everything; returns the keys of all entries.
    pub(super) fn clear(&mut self) -> Vec<EntryKey> {
        self.segments.clear();
        self.uses.drain().map(|(key, _)| key).collect()
    }

    /// Records whether the tier has the bytes of these entries.
    pub(super) fn set_saved(&mut self, keys: &HashSet<EntryKey>, saved: bool) {
        for segment in self.segments.values_mut() {
            if let Contents::Rows { key, is_saved, .. } = &mut segment.contents
                && keys.contains(key)
            {
                *is_saved = saved;
            }
        }
    }

    /// Points the segments within a span at the bytes of an entry that came from the tier.
    pub(super) fn attach(&mut self, span: Span, key: &EntryKey, entry: &Arc<Entry>) {
        let froms: Vec<Timestamp> = self.overlapping(span).map(|segment| segment.span.from()).collect();
        for from in froms {
            if let Some(Contents::Rows { key: own, entry: kept, .. }) =
                self.segments.get_mut(&from).map(|segment| &mut segment.contents)
                && own == key
            {
                *kept = Arc::downgrade(entry);
            }
        }
    }

    /// Whether a segment refers to this entry.
    pub(super) fn uses(&self, key: &EntryKey) -> bool {
        self.uses.contains_key(key)
    }

    fn insert(&mut self, segment: Segment) {
        if let Some(key) = segment.key() {
            *self.uses.entry(key).or_default() += 1;
        }
        self.segments.insert(segment.span.from(), segment);
    }

    fn release(&mut self, segment: &Segment, unused: &mut Vec<EntryKey>) {
        let Some(key) = segment.key() else { return };
        if let Some(count) = self.uses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.uses.remove(&key);
                unused.push(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
