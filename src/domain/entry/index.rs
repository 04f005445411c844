//! The facts about an entry's rows without their bytes: 72 bytes per row, and each word once.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::counted_memory::CountedMemory;
use super::held_columns::HeldColumns;
use super::new_row::{Digest, NewRow};
use crate::domain::{BatchFact, FilterFacts, RowId, RowIdForm, Status, Timestamp};

/// The facts about the rows of an entry without their bytes: everything that plans, counts and filters need.
///
/// # Invariants
/// As [`Entry`](super::Entry). Never changes, except that columns of its rows come and go.
#[derive(Debug)]
pub struct EntryIndex {
    rows: Box<[PackedRow]>,
    statuses: Box<[Status]>,
    /// Directions, providers and batches.
    words: Box<[Arc<str>]>,
    /// Ids that are no UUIDs.
    texts: Box<[Arc<str>]>,
    digest: Digest,
    has_undated: bool,
    pub(super) columns: HeldColumns,
    counted: OnceLock<CountedMemory>,
}

/// A row of an index. Statuses and words are named by their numbers, which begin at 1; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedRow {
    /// The bytes of a UUID, or the position of a text.
    id: [u8; 16],
    /// As bytes, which need no alignment to 16 as a `u128` does.
    digest: [u8; 16],
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) read_at: Timestamp,
    /// The length of the row's bytes. The limit of a page's body is far below the largest `u32`.
    pub(super) length: u32,
    status: u32,
    call_type: u16,
    provider: u16,
    batch_id: u16,
    flags: u16,
}

// The documentation gives this size.
const _: () = assert!(size_of::<PackedRow>() == 72);

const IS_DATED: u16 = 1;
const HAS_TEXT_ID: u16 = 2;
const IN_NO_BATCH: u16 = 4;
const KNOWS_VOICE_MAIL: u16 = 8;
const HAS_VOICE_MAIL: u16 = 16;
const IS_DOUBTED: u16 = 32;

impl PackedRow {
    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn is_dated(&self) -> bool {
        self.has(IS_DATED)
    }

    pub(super) const fn is_doubted(&self) -> bool {
        self.has(IS_DOUBTED)
    }

    pub(super) const fn digest(&self) -> Digest {
        Digest(u128::from_ne_bytes(self.digest))
    }

    pub(super) fn answered_by_voice_mail(&self) -> Option<bool> {
        self.has(KNOWS_VOICE_MAIL).then(|| self.has(HAS_VOICE_MAIL))
    }
}

impl EntryIndex {
    /// The index of these rows, which are sorted and without duplicates.
    pub fn new(new: &[NewRow]) -> Self {
        Self::of(new.iter().map(IndexRow::of))
    }

    /// The index of rows from an earlier index; `None` if an older row precedes a newer one, or an id is repeated.
    pub fn from_rows(rows: Vec<IndexRow>) -> Option<Self> {
        let is_sorted = rows.is_sorted_by(|newer, older| newer.created_at >= older.created_at);
        let mut ids = HashSet::with_capacity(rows.len());
        let has_each_id_once = rows.iter().all(|row| ids.insert(&row.id));
        (is_sorted && has_each_id_once).then(|| Self::of(rows.into_iter()))
    }

    pub(super) fn of(rows: impl Iterator<Item = IndexRow>) -> Self {
        let mut words = IndexWords::default();
        let rows: Box<[PackedRow]> = rows.map(|row| words.pack(&row)).collect();
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(row.digest()));
        Self {
            has_undated: rows.iter().any(|row| !row.is_dated()),
            rows,
            statuses: words.statuses.into(),
            words: words.words.into(),
            texts: words.texts.into(),
            digest,
            columns: HeldColumns::default(),
            counted: OnceLock::new(),
        }
    }

    /// Counts the index and this many additional bytes in a total until the index is dropped. Only the first call has an effect.
    pub fn count_in(&self, total: &Arc<AtomicU64>, overhead: u64) {
        self.counted.get_or_init(|| CountedMemory::new(self.weight() as u64 + overhead, total));
    }

    /// The total that the index counts in.
    pub(super) fn counted_in(&self) -> Option<&Arc<AtomicU64>> {
        self.counted.get().map(CountedMemory::total)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The sum of all rows' digests.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of bytes that the rows take, including one separator after each.
    pub fn byte_len(&self) -> usize {
        self.rows.iter().map(|row| row.length as usize + 1).sum()
    }

    /// Whether any row has no readable date.
    pub const fn has_undated(&self) -> bool {
        self.has_undated
    }

    /// The bytes in memory that it takes, without words that the whole process shares.
    pub fn weight(&self) -> usize {
        /// The bytes that the allocator and the reference counts of a shared text take.
        const SHARED: usize = 4 * size_of::<usize>();
        let texts: usize = self.texts.iter().chain(&self.words).map(|text| text.len() + SHARED).sum();
        size_of::<Self>()
            + size_of_val(&*self.rows)
            + size_of_val(&*self.statuses)
            + size_of_val(&*self.words)
            + size_of_val(&*self.texts)
            + texts
    }

    pub(super) fn packed(&self) -> &[PackedRow] {
        &self.rows
    }

    pub(super) fn status_of(&self, row: &PackedRow) -> Option<&Status> {
        self.statuses.get((row.status as usize).wrapping_sub(1))
    }

    pub(super) fn id_of(&self, row: &PackedRow) -> RowId {
        if !row.has(HAS_TEXT_ID) {
            return RowId::of_uuid(row.id);
        }
        let position = usize::try_from(u128::from_ne_bytes(row.id)).ok();
        // A position without a text is never packed.
        let text = position.and_then(|position| self.texts.get(position));
        RowId::of_text(text.map_or_else(|| "".into(), Arc::clone))
    }

    fn word_at(&self, number: u16) -> Option<&Arc<str>> {
        self.words.get(usize::from(number).wrapping_sub(1))
    }

    /// The facts of a row that filters test, independent of the index.
    pub(super) fn facts_of(&self, row: &PackedRow) -> FilterFacts {
        let word = |number| self.word_at(number).map(Arc::clone);
        FilterFacts {
            call_type: word(row.call_type),
            provider: word(row.provider),
            batch_id: self.batch_of(row, Arc::clone),
            answered_by_voice_mail: row.answered_by_voice_mail(),
        }
    }

    pub(super) fn call_type_of(&self, row: &PackedRow) -> Option<&str> {
        self.word_at(row.call_type).map(|word| &**word)
    }

    pub(super) fn provider_of(&self, row: &PackedRow) -> Option<&str> {
        self.word_at(row.provider).map(|word| &**word)
    }

    pub(super) fn batch_of<'a, T>(
        &'a self,
        row: &PackedRow,
        batch: impl FnOnce(&'a Arc<str>) -> T,
    ) -> BatchFact<T> {
        match self.word_at(row.batch_id) {
            Some(word) => BatchFact::In(batch(word)),
            None if row.has(IN_NO_BATCH) => BatchFact::None,
            None => BatchFact::Unknown,
        }
    }
}

/// The facts about a row outside of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// Upstream's identifier.
    pub id: RowId,
    /// See [`EntryRow::created_at`](super::EntryRow::created_at).
    pub created_at: Timestamp,
    /// See [`EntryRow::is_dated`](super::EntryRow::is_dated).
    pub is_dated: bool,
    /// See [`EntryRow::changed_at`](super::EntryRow::changed_at).
    pub changed_at: Timestamp,
    /// See [`EntryRow::read_at`](super::EntryRow::read_at).
    pub read_at: Timestamp,
    /// See [`EntryRow::is_doubted`](super::EntryRow::is_doubted).
    pub is_doubted: bool,
    /// The status of the call.
    pub status: Option<Status>,
    /// What filters need of it.
    pub facts: FilterFacts,
    /// See [`EntryRow::digest`](super::EntryRow::digest).
    pub digest: Digest,
    /// The length of the bytes.
    pub length: u32,
}

impl IndexRow {
    pub(super) fn of(new: &NewRow) -> Self {
        let row = &new.row;
        Self {
            id: row.id.clone(),
            created_at: new.created_at,
            is_dated: row.created_at.is_some(),
            changed_at: row.updated_at.unwrap_or(new.created_at).max(new.created_at),
            read_at: new.read_at,
            is_doubted: new.is_doubted,
            status: row.status.clone(),
            facts: row.facts.clone(),
            digest: new.digest,
            length: u32::try_from(row.bytes.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The words of an index that is being built.
#[derive(Default)]
struct IndexWords {
    statuses: Vec<Status>,
    words: Vec<Arc<str>>,
    texts: Vec<Arc<str>>,
}

impl IndexWords {
    fn pack(&mut self, row: &IndexRow) -> PackedRow {
        let facts = &row.facts;
        let mut flags = 0;
        let mut set = |flag, is_set| flags |= if is_set { flag } else { 0 };
        set(IS_DATED, row.is_dated);
        set(IS_DOUBTED, row.is_doubted);
        set(IN_NO_BATCH, facts.batch_id == BatchFact::None);
        set(KNOWS_VOICE_MAIL, facts.answered_by_voice_mail.is_some());
        set(HAS_VOICE_MAIL, facts.answered_by_voice_mail == Some(true));
        set(HAS_TEXT_ID, matches!(row.id.form(), RowIdForm::Text(_)));
        let id = match row.id.form() {
            RowIdForm::Uuid(bytes) => *bytes,
            RowIdForm::Text(text) => {
                self.texts.push(Arc::clone(text));
                (self.texts.len() as u128 - 1).to_ne_bytes()
            }
        };
        let batch_id = match &facts.batch_id {
            BatchFact::In(batch) => Some(batch),
            BatchFact::None | BatchFact::Unknown => None,
        };
        PackedRow {
            id,
            digest: row.digest.0.to_ne_bytes(),
            created_at: row.created_at,
            changed_at: row.changed_at,
            read_at: row.read_at,
            length: row.length,
            status: row.status.as_ref().map_or(0, |status| self.status(status)),
            call_type: self.word(facts.call_type.as_ref()),
            provider: self.word(facts.provider.as_ref()),
            batch_id: self.word(batch_id),
            flags,
        }
    }

    fn status(&mut self, status: &Status) -> u32 {
        u32::try_from(numbered(&mut self.statuses, status)).unwrap_or(0)
    }

    /// The number of a word. If there are too many words before it, the fact is unknown.
    fn word(&mut self, word: Option<&Arc<str>>) -> u16 {
        word.map_or(0, |word| u16::try_from(numbered(&mut self.words, word)).unwrap_or(0))
    }
}

/// How many of the latest words are searched for a repeated one. An earlier word is stored again, which does no harm.
const SEARCHED: usize = 64;

/// The number of a value among the known ones. A new value is added to them.
fn numbered<T: PartialEq + Clone>(known: &mut Vec<T>, value: &T) -> usize {
    let from = known.len().saturating_sub(SEARCHED);
    if let Some(at) = known[from..].iter().position(|other| other == value) {
        return from + at + 1;
    }
    known.push(value.clone());
    known.len()
}
