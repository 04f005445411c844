//! The seam between the engine and a tier: a place where what is known outlives this process.
//!
//! A tier is asked only where upstream would be asked otherwise, and a response never waits for a write. Whatever goes wrong in
//! it (a full disk, a damaged file, another secret) is a miss: the caller gets the same response, at the price of more upstream
//! requests. Everything kept is sealed, and named so that no name tells a key, an agent or a filter.
//!
//! What is kept of a scope lies in cells, one for each aligned week of `created_at`: spans, and the index of every entry that
//! they name. The bytes of an entry are kept apart, so that an index which changes does not write them again.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::domain::{
    AgentFacts, AgentId, CredentialId, Entry, EntryIndex, EntryRows, RowId, Span, Timestamp,
};
use crate::store::{EntryKey, ScopeKey};

/// Keeps cells and the bytes of entries.
///
/// No method fails where a miss says the same; an implementation counts and logs what went wrong. None blocks the thread.
pub trait Tier: Send + Sync + 'static {
    /// What was saved of a scope since a version, 0 for everything, in any order. What a void mark covers is left out, and what
    /// was read in the future.
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews>;

    /// The bytes of entries, in the order in which they are asked for; `None` for those that are not kept (any more).
    /// Each entry that comes back shares the index that was passed in.
    fn load_rows<'a>(
        &'a self,
        scope: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>>;

    /// Writes what changed in a scope. Called from one task at a time.
    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved>;

    /// Nothing that was read before `at` of an agent, or with a credential, is served any more, by any process, also after a
    /// restart. Returns when the mark is safe.
    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>>;

    /// Of these scopes, those that void marks of any process are about, and until when what was read is void.
    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>>;

    /// Asks whether this process may read a span of a scope upstream now, and what other processes saved since a version: both in
    /// one go, since what they saved may make the reading needless.
    ///
    /// A turn only saves requests. It ends with [`end_turns`](Self::end_turns), or a few seconds after it was last asked for, so
    /// a reading that goes on asks for it again. A tier that is away, or that one process writes, gives every turn.
    fn take_turn<'a>(&'a self, scope: &'a TierScope, span: Span, since: TierVersion) -> BoxFuture<'a, Turn> {
        let _ = (scope, span);
        async move { Turn { is_mine: true, news: TierNews { version: since, cells: Vec::new() } } }.boxed()
    }

    /// Ends turns, each given as [`turn_of`] its span. Nothing waits for it.
    fn end_turns(&self, scope: &TierScope, turns: &[i64]) {
        let _ = (scope, turns);
    }

    /// Whether other processes save to it at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// What `/status` says about it.
    fn status(&self) -> TierStatus;
}

/// How often a scope was saved, by any process: a number that grows. 0 before the first time.
pub type TierVersion = u64;

/// What was saved of a scope.
#[derive(Clone, Debug, Default)]
pub struct TierNews {
    /// The version that includes it.
    pub version: TierVersion,
    /// The cells that changed, each as a whole.
    pub cells: Vec<Cell>,
}

/// The answer to [`Tier::take_turn`].
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whether this process may read; otherwise another one does.
    pub is_mine: bool,
    /// What was saved meanwhile.
    pub news: TierNews,
}

/// Whose executions a scope holds. The tier derives every name from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TierScope {
    /// The scope.
    pub key: ScopeKey,
    /// Its agent, for void marks.
    pub agent: AgentId,
    /// Its credential, for void marks.
    pub credential: CredentialId,
}

/// How old something is that is known of a span.
#[derive(Clone, Copy, Debug)]
pub struct KnownAge<'r> {
    /// When the part of it that was read first was read.
    pub oldest: Timestamp,
    /// When the part of it that was read last was read.
    pub latest: Timestamp,
    /// The rows that it has in the span.
    pub rows: Option<EntryRows<'r>>,
}

impl KnownAge<'_> {
    /// Whether it takes the place of something else that is known of the span.
    ///
    /// It does if neither its oldest part nor its latest was read before the other's, and one of them after it. If that says
    /// nothing (each has a newer part, or both are of one reading), the rows decide, which a probe or a reading of a part brings up
    /// to date: it has all rows of the other, none of them from an earlier reading, and one from a later.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let is_no_older = |one: &Self, other: &Self| one.oldest >= other.oldest && one.latest >= other.latest;
        match (is_no_older(self, other), is_no_older(other, self)) {
            (true, false) => true,
            (false, true) => false,
            (true, true) | (false, false) => {
                self.rows.zip(other.rows).is_some_and(|(own, others)| has_later_rows(own, others))
            }
        }
    }
}

/// Whether there are all of the others, none of them from an earlier reading, and one from a later.
fn has_later_rows(own: EntryRows<'_>, others: EntryRows<'_>) -> bool {
    let own: HashMap<RowId, Timestamp> = own.iter().map(|row| (row.id(), row.read_at)).collect();
    let mut has_later = false;
    others.iter().all(|other| {
        own.get(&other.id()).is_some_and(|read_at| {
            has_later |= *read_at > other.read_at;
            *read_at > other.read_at || (*read_at == other.read_at && !other.is_doubted)
        })
    }) && has_later
}

impl Cell {
    /// Nothing is known of a week.
    pub const fn empty(week: i64) -> Self {
        Self { week, segments: Vec::new(), entries: Vec::new(), head: None }
    }
}

/// What is known of one scope in one aligned week.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The week, see [`week_of`].
    pub week: i64,
    /// Disjoint spans within the week, newest first.
    pub segments: Vec<CellSegment>,
    /// The entries that the segments name.
    pub entries: Vec<CellEntry>,
    /// The latest reading that went up to the present, if that ended in this week.
    pub head: Option<CellHead>,
}

/// A reading that went up to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellHead {
    /// The last instant it asked for, by upstream's clock.
    pub to: Timestamp,
    /// When that was the present, by this machine's, or when it was asked, if that was earlier.
    pub read_at: Timestamp,
    /// The agent, as upstream described it to the process that read this. Upstream accepted the key for it then.
    pub agent: Option<AgentFacts>,
}

/// A span all of whose rows are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSegment {
    /// The span.
    pub span: Span,
    /// When the part of it that was read first was read, by the wall clock of this machine.
    pub read_at: Timestamp,
    /// When the part of it that was read last was read.
    pub latest_read_at: Timestamp,
    /// Whether it was read so soon after its end that rows may be missing: it is known for the shortest time to live only.
    pub is_provisional: bool,
    /// Its rows: the position of an entry in [`Cell::entries`], and of rows in that entry. `None` if there are no rows.
    pub rows: Option<(usize, std::ops::Range<usize>)>,
}

/// An entry, apart from its bytes.
#[derive(Clone, Debug)]
pub struct CellEntry {
    /// Its key, under which its bytes are kept.
    pub key: EntryKey,
    /// What is known of its rows.
    pub index: Arc<EntryIndex>,
}

/// What changed in a scope since it was saved last.
#[derive(Clone, Debug, Default)]
pub struct ScopeChanges {
    /// What is kept of these is no longer true: it is taken out of the kept cells before `cells` are laid over them.
    pub forgotten: Vec<ForgottenSpan>,
    /// What is known now, for every week in which anything changed. Where a cell says nothing about a span, what is kept of that
    /// span stays: the engine may have dropped it from memory only.
    pub cells: Vec<Cell>,
    /// The bytes of entries that were not written yet.
    pub rows: Vec<(EntryKey, Arc<Entry>)>,
}

/// A span of which what was read until an instant is no longer true. What another process read of it later stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenSpan {
    /// The span.
    pub span: Span,
    /// The instant.
    pub until: Timestamp,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is safe. If nobody else saved the scope since `before`, the second version has nothing that this process does not know.
    Yes {
        /// The version that the write found.
        before: TierVersion,
        /// The version that it made.
        after: TierVersion,
    },
    /// It is not, and will not be without being tried again: the disk is full, or another process holds the tier.
    No,
}

/// What a void mark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Voided {
    /// Everything of an agent.
    Agent(AgentId),
    /// Everything read with a credential.
    Credential(CredentialId),
}

/// The tier could not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tier could not be told")]
pub struct TierUnavailable;

/// What a tier is, and whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierStatus {
    /// Its kind.
    pub kind: TierKind,
    /// Whether it is used at the moment. A directory that another process holds is away.
    pub is_ok: bool,
}

/// Where a tier keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierKind {
    /// In a directory of a local disk.
    Directory,
    /// In Redis or Valkey.
    Redis,
}

/// Something that a check of a tier found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good or bad it is.
    pub grade: Grade,
    /// A sentence.
    pub text: String,
}

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Good,
    /// It works, and is probably not intended.
    Doubtful,
    /// The tier can't be used like that.
    Bad,
}

impl Finding {
    /// Something as it should be.
    pub const fn good(text: String) -> Self {
        Self { grade: Grade::Good, text }
    }

    /// Something that works, and is probably not intended.
    pub const fn doubtful(text: String) -> Self {
        Self { grade: Grade::Doubtful, text }
    }

    /// Something because of which the tier can't be used.
    pub const fn bad(text: String) -> Self {
        Self { grade: Grade::Bad, text }
    }
}

/// The times of upstream requests, which outlive this process so that a restart does not send the budget twice, and which
/// processes may share.
pub trait RequestTimes: Send + Sync + 'static {
    /// What others sent in the last minutes: the process before this one, and those that run beside it. Each request is
    /// returned once. Does not block.
    fn sent_by_others(&self) -> Vec<SentRequest>;

    /// Notes a request that is about to be sent. Ready once it may be sent, and the end of this process can't lose it; or after
    /// a short time if the disk does not answer. What waits for the others' requests gives up by dropping this.
    fn note(&self, request: SentRequest) -> BoxFuture<'_, ()>;

    /// What changed in what processes share since this was last called. Does not block.
    fn changes(&self) -> Vec<BudgetChange> {
        Vec::new()
    }

    /// Tells the others that upstream's limit is reached until an instant.
    fn limited(&self, credential: CredentialId, until: Timestamp) {
        let _ = (credential, until);
    }
}

/// A change of a budget that processes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetChange {
    /// With whose key requests are sent; anyone's if the budget is everyone's.
    pub credential: CredentialId,
    /// What changed.
    pub kind: BudgetChangeKind,
}

/// What changed in a shared budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetChangeKind {
    /// All processes together may send so many requests in a period, or the others can't be reached, and this one may.
    Limit(u32),
    /// Another process reached upstream's limit: nothing is sent until then.
    Pause(Timestamp),
}

/// A request that was sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRequest {
    /// With whose key.
    pub credential: CredentialId,
    /// When, by the wall clock of this machine.
    pub at: Timestamp,
}

/// The length of a week in microseconds.
const WEEK_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// The number of the week that an instant lies in, counted from 1970.
pub const fn week_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(WEEK_MICROS)
}

/// The weeks that a span has instants in.
pub const fn weeks_in(span: Span) -> RangeInclusive<i64> {
    week_of(span.from())..=week_of(span.to())
}

/// Which turn a reading of a span takes: that of its last week.
///
/// A reading spans a window at most, so two windows that touch have different turns. With a turn for every week that they have
/// instants in, processes that read every other window would wait for each other.
pub const fn turn_of(span: Span) -> i64 {
    week_of(span.to())
}

/// All instants of a week.
pub fn week_span(week: i64) -> Span {
    let from = Timestamp::from_micros(week.saturating_mul(WEEK_MICROS));
    let to = Timestamp::from_micros(week.saturating_add(1).saturating_mul(WEEK_MICROS)).previous();
    Span::new(from, to.max(from)).unwrap_or_else(|| Span::at(from))
}
