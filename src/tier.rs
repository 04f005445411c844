//! The trait between the engine and a tier, which keeps what the engine knows beyond the end of this process.
//!
//! The engine asks a tier only where it would otherwise ask upstream, and no response waits for a write. Any fault of a tier (a
//! full disk, a damaged file, another secret) is a miss: the caller gets the same response, at the cost of more upstream
//! requests. Everything in it is sealed, and no name reveals a key, an agent or a filter.
//!
//! A scope is kept as cells, one for each aligned week of `created_at`. A cell holds spans, and the index of every entry that
//! they name. The bytes of entries are kept separately, so that a change of an index does not write them again.

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
/// Methods report a fault as a miss; the implementation counts and logs it. No method blocks the thread.
pub trait Tier: Send + Sync + 'static {
    /// Loads what was saved of a scope since a version (0 for everything), in any order. Leaves out what a void mark covers, and
    /// what claims to have been read in the future.
    fn load<'a>(&'a self, scope: &'a TierScope, since: TierVersion) -> BoxFuture<'a, TierNews>;

    /// Loads the bytes of entries, in the order of the request; `None` for those that are not kept.
    /// Each entry returned shares the index that was passed in.
    fn load_rows<'a>(
        &'a self,
        scope: &'a TierScope,
        entries: Vec<(EntryKey, Arc<EntryIndex>)>,
    ) -> BoxFuture<'a, Vec<Option<Arc<Entry>>>>;

    /// Writes what changed in a scope. Called from one task at a time.
    fn save<'a>(&'a self, scope: &'a TierScope, changes: Arc<ScopeChanges>) -> BoxFuture<'a, Saved>;

    /// Writes a void mark: from now on no process serves what was read before `at`, even after a restart. Returns when the mark
    /// is safely stored.
    fn void(&self, what: Voided, at: Timestamp) -> BoxFuture<'_, Result<(), TierUnavailable>>;

    /// Returns those of the scopes that void marks of any process cover, and until when reads of each are void.
    fn voided(&self, scopes: Vec<TierScope>) -> BoxFuture<'_, Vec<(TierScope, Timestamp)>>;

    /// Asks whether this process may read a span of a scope upstream now, and loads what other processes saved since a version:
    /// both at once, since what they saved may make the read unnecessary.
    ///
    /// Turns only save requests. A turn ends with [`end_turns`](Self::end_turns), or a few seconds after it was last asked for, so
    /// a longer read asks for it again. A tier that is away, or that only one process writes, grants every turn.
    fn take_turn<'a>(&'a self, scope: &'a TierScope, span: Span, since: TierVersion) -> BoxFuture<'a, Turn> {
        let _ = (scope, span);
        async move { Turn { is_mine: true, news: TierNews { version: since, cells: Vec::new() } } }.boxed()
    }

    /// Ends turns, each given as [`turn_of`] its span. Returns at once.
    fn end_turns(&self, scope: &TierScope, turns: &[i64]) {
        let _ = (scope, turns);
    }

    /// Whether several processes save to it at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// Its status, for `/status`.
    fn status(&self) -> TierStatus;
}

/// A version of what is kept of a scope: grows with each save by any process; 0 before the first.
pub type TierVersion = u64;

/// What was saved of a scope.
#[derive(Clone, Debug, Default)]
pub struct TierNews {
    /// The version that includes it.
    pub version: TierVersion,
    /// The cells that changed, each complete.
    pub cells: Vec<Cell>,
}

/// The answer to [`Tier::take_turn`].
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whether this process may read. If not, another process is reading.
    pub is_mine: bool,
    /// What other processes saved meanwhile.
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

/// The age of what is known of a span.
#[derive(Clone, Copy, Debug)]
pub struct KnownAge<'r> {
    /// When the oldest part of it was read.
    pub oldest: Timestamp,
    /// When the latest part of it was read.
    pub latest: Timestamp,
    /// The rows that are known in the span.
    pub rows: Option<EntryRows<'r>>,
}

impl KnownAge<'_> {
    /// Whether it replaces `other`, which is known of the same span.
    ///
    /// It does if neither its oldest nor its latest part was read before the other's, and one of them was read after. If that is
    /// inconclusive (each has a newer part, or both come from one read), the rows decide, because a probe or a partial read updates
    /// some of them: it replaces `other` if it has all of its rows, none from an earlier read, and one from a later read.
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

/// Whether `own` has all rows of `others`, none from an earlier read, and one from a later read.
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
    /// A cell of a week of which nothing is known.
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
    /// The latest read that reached the present, if it ended in this week.
    pub head: Option<CellHead>,
}

/// A read that reached the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellHead {
    /// The last instant that it asked for, by upstream's clock.
    pub to: Timestamp,
    /// When that was the present by this machine's clock, or when it was sent, if that was earlier.
    pub read_at: Timestamp,
    /// The facts of the agent, if the process that read this got them. Upstream then accepted the key for the agent.
    pub agent: Option<AgentFacts>,
}

/// A span all of whose rows are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSegment {
    /// The span.
    pub span: Span,
    /// When the oldest part of it was read, by the wall clock of this machine.
    pub read_at: Timestamp,
    /// When the latest part of it was read.
    pub latest_read_at: Timestamp,
    /// Whether it was read so soon after its end that rows may be missing, so that it has the shortest time to live.
    pub is_provisional: bool,
    /// Its rows: the position of their entry in [`Cell::entries`], and their positions in that entry. `None` if it has none.
    pub rows: Option<(usize, std::ops::Range<usize>)>,
}

/// An entry without its bytes.
#[derive(Clone, Debug)]
pub struct CellEntry {
    /// Its key, under which its bytes are kept.
    pub key: EntryKey,
    /// What is known of its rows.
    pub index: Arc<EntryIndex>,
}

/// What changed in a scope since it was last saved.
#[derive(Clone, Debug, Default)]
pub struct ScopeChanges {
    /// Spans of which what is kept is no longer true: they are removed from the kept cells before `cells` replace parts of them.
    pub forgotten: Vec<ForgottenSpan>,
    /// What is known now, for every week with changes. Where a cell says nothing about a span, what is kept of that span stays:
    /// the engine may only have dropped it from memory.
    pub cells: Vec<Cell>,
    /// The bytes of entries that have not been saved yet.
    pub rows: Vec<(EntryKey, Arc<Entry>)>,
}

/// A span of which reads until an instant are no longer true. What another process read of it later stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenSpan {
    /// The span.
    pub span: Span,
    /// The instant.
    pub until: Timestamp,
}

/// The outcome of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The changes are stored. If no other process saved the scope after version `before`, this process knows all of `after`.
    Yes {
        /// The version that the save found.
        before: TierVersion,
        /// The version that the save made.
        after: TierVersion,
    },
    /// Nothing is stored, and the save must be tried again: the disk is full, or another process holds the tier.
    No,
}

/// What a void mark covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Voided {
    /// Everything of an agent.
    Agent(AgentId),
    /// Everything read with a credential.
    Credential(CredentialId),
}

/// The tier could not store a void mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tier could not store a void mark")]
pub struct TierUnavailable;

/// What a tier is, and whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierStatus {
    /// Its kind.
    pub kind: TierKind,
    /// Whether it is usable now. A directory that another process holds is not.
    pub is_ok: bool,
}

/// The kinds of tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierKind {
    /// A directory on a local disk.
    Directory,
    /// Redis or Valkey.
    Redis,
}

/// A result of `fanfold tier check`.
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
    /// It works, but is probably not intended.
    Doubtful,
    /// The tier can't be used like that.
    Bad,
}

impl Finding {
    /// A finding that needs no action.
    pub const fn good(text: String) -> Self {
        Self { grade: Grade::Good, text }
    }

    /// A finding that works but is probably not intended.
    pub const fn doubtful(text: String) -> Self {
        Self { grade: Grade::Doubtful, text }
    }

    /// A finding because of which the tier can't be used.
    pub const fn bad(text: String) -> Self {
        Self { grade: Grade::Bad, text }
    }
}

/// Keeps the times of upstream requests beyond the end of this process, so that a restart does not send the budget twice.
/// Processes may share them.
pub trait RequestTimes: Send + Sync + 'static {
    /// Returns what other processes (the predecessor, and those that run now) sent in the last minutes. Each request is returned
    /// once. Does not block.
    fn sent_by_others(&self) -> Vec<SentRequest>;

    /// Notes a request that is about to be sent. The future is ready when the request may be sent and its note is stored, or
    /// after a short time if the disk does not respond. Dropping the future withdraws a request that still waits.
    fn note(&self, request: SentRequest) -> BoxFuture<'_, ()>;

    /// Returns what changed in the shared budget since this was last called. Does not block.
    fn changes(&self) -> Vec<BudgetChange> {
        Vec::new()
    }

    /// Tells the other processes that upstream's limit is reached until an instant.
    fn limited(&self, credential: CredentialId, until: Timestamp) {
        let _ = (credential, until);
    }
}

/// A change of a shared budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetChange {
    /// The credential whose budget changed; any, if all credentials share one budget.
    pub credential: CredentialId,
    /// What changed.
    pub kind: BudgetChangeKind,
}

/// What changed in a shared budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetChangeKind {
    /// The most requests in a period: by all processes together, or by this one alone while it can't reach the others.
    Limit(u32),
    /// Another process reached upstream's limit: nothing may be sent until then.
    Pause(Timestamp),
}

/// A request that was sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRequest {
    /// The credential that it was sent with.
    pub credential: CredentialId,
    /// When it was sent, by the wall clock of this machine.
    pub at: Timestamp,
}

/// The length of a week in microseconds.
const WEEK_MICROS: i64 = 7 * 24 * 3600 * 1_000_000;

/// The number of an instant's week, counted from 1970.
pub const fn week_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(WEEK_MICROS)
}

/// The weeks that a span touches.
pub const fn weeks_in(span: Span) -> RangeInclusive<i64> {
    week_of(span.from())..=week_of(span.to())
}

/// The turn that a read of a span takes: that of its last week.
///
/// A read spans at most one window, so touching windows have different turns. If a read took a turn for every week that it
/// touches, processes that read alternate windows would wait for each other.
pub const fn turn_of(span: Span) -> i64 {
    week_of(span.to())
}

/// The span of a whole week.
pub fn week_span(week: i64) -> Span {
    let from = Timestamp::from_micros(week.saturating_mul(WEEK_MICROS));
    let to = Timestamp::from_micros(week.saturating_add(1).saturating_mul(WEEK_MICROS)).previous();
    Span::new(from, to.max(from)).unwrap_or_else(|| Span::at(from))
}
