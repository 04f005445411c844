//! Decides what is known, what to read, and how an answer is put together.
//!
//! A question is canonical, and its key is checked with upstream ([`access`]). Its [`scope`] holds the known
//! rows as [`coverage`]. A [`plan`] says which spans to read, [`reading`] reads them once for all waiting
//! callers, and an [`Answer`] takes the rows from both in order. [`freshness`] says how old each row may get.
//! [`relay`] serves upstream's own pages, independently of all that.

mod access;
mod agent_lists;
mod answer;
mod ask;
mod background;
mod changes;
mod confirm;
mod coverage;
mod freshness;
mod knowledge;
mod memory;
mod page_cache;
mod parts;
mod plan;
mod prefetch;
mod proof;
mod reading;
mod relay;
mod restore;
mod saving;
mod scope;
mod sections;
mod single_flight;
mod state;
mod terms;
mod yardstick;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::answer::{Answer, ByteLimit, Collection, Gathered};
pub use self::changes::{
    ChangesOutcome, Comparison, Confirmation, Cursor, CursorError, Finished, FollowedAgents,
    FollowedQuestion, Logging, NotKept, RemovedRow, ResponseExtent, Vanished,
};
use self::freshness::{Membership, TtlStretch};
pub use self::memory::{HeldMemory, MemoryLimit};
use self::parts::Parts;
pub use self::relay::{RelayQuestion, Relayed};
pub use self::sections::{
    ListQuestion, ListState, SectionAgents, SectionError, SectionItem, SectionOutcome, SectionVerdict,
    Sections, SectionsVerdict, VerdictFirst,
};
use self::state::SharedState;
pub use self::terms::{
    AskError, Awaited, CacheDirectives, CacheReport, Clock, Collected, EngineSettings, Freshness,
    MemoryBounds, Missing, Newest, Question, ResponseMode, RowNeed, StaleReason, Tolerance, Verdict,
};
#[doc(hidden)]
pub use self::yardstick::Yardstick;
use crate::domain::{
    AgentId, Caller, CallerId, Credential, CredentialId, Digest, EntryIndex, NewRow, Row, Timestamp,
};
use crate::shutdown::Shutdown;
use crate::source::{Source, SourceOutlook, Trace};
use crate::store::Store;
use crate::telemetry::ChangeLogReadings;
use crate::tier::{Tier, TierStatus, TierUnavailable};

/// Answers questions. Clones share one state.
#[derive(Clone)]
pub struct Engine {
    state: Arc<SharedState>,
}

impl Engine {
    /// An engine that reads through `source`, stores in `store`, and spawns its reads in `shutdown`. With a
    /// tier, it saves there what it reads, and looks there before it asks upstream.
    pub fn new(
        settings: EngineSettings,
        bounds: MemoryBounds,
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        tier: Option<Arc<dyn Tier>>,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Self {
        let stretch = TtlStretch::default();
        let save_soon = Arc::default();
        let parts = Parts { settings, source, store, tier, save_soon, clock, shutdown, stretch };
        let state = Arc::new(SharedState::new(parts, bounds));
        saving::spawn(&state);
        saving::watch_voids(&state);
        Self { state }
    }

    /// Begins an answer.
    ///
    /// Returns once the first rows are ready, or are certain not to exist, so that a refusal can still be a
    /// status.
    ///
    /// # Errors
    /// Any [`AskError`] except `TooLarge`.
    pub async fn ask(&self, question: Question) -> Result<Answer, AskError> {
        ask::ask(&self.state, question).await
    }

    /// The agents that upstream lists for a credential, from a list that is less than a minute old.
    ///
    /// # Errors
    /// [`AskError::Source`], [`AskError::NotCached`].
    pub async fn listed(&self, question: &ListQuestion) -> Result<SectionAgents, AskError> {
        sections::listed(&self.state, question).await
    }

    /// A response about several agents: to `question` for each of them. Nothing is requested yet.
    pub fn sections(&self, question: Question, agents: SectionAgents) -> Sections {
        Sections::new(&self.state, question, agents)
    }

    /// One of upstream's pages, byte for byte, for a client's query string. It is stored under
    /// `canonical_query`, and is as fresh as its least settled row.
    ///
    /// # Errors
    /// [`AskError::Source`], [`AskError::NotCached`], [`AskError::NotReady`], [`AskError::ShuttingDown`].
    pub async fn relay(&self, question: RelayQuestion) -> Result<Relayed, AskError> {
        relay::relay(&self.state, question).await
    }

    /// How old an execution may get that was just read.
    pub fn row_lifetime(&self, row: Row) -> Duration {
        let now = self.state.parts.clock.now();
        let created_at = row.created_at.unwrap_or(now);
        let index = EntryIndex::new(&[NewRow {
            created_at,
            row,
            read_at: now,
            is_doubted: false,
            digest: Digest::default(),
        }]);
        let policy = self.state.parts.plain_policy(Membership::Fixed);
        index.rows().iter().map(|row| policy.due(&row, now).ttl).min().unwrap_or_default()
    }

    /// How old an agent's data may get.
    pub fn agent_lifetime(&self) -> Duration {
        self.state.parts.settings.settling_ttl
    }

    /// Drops everything that is stored for an agent, under every credential, here and in the tier.
    ///
    /// # Errors
    /// The purge could not be saved to the tier: after a restart, the agent's rows in the tier are served again.
    pub async fn forget(&self, agent: AgentId) -> Result<(), TierUnavailable> {
        knowledge::forget(&self.state, agent).await
    }

    /// The state of the tier; `None` without one.
    pub fn tier(&self) -> Option<TierStatus> {
        self.state.parts.tier.as_ref().map(|tier| tier.status())
    }

    /// Whether a caller is known: upstream recently accepted its key, or the gateway checked its token.
    pub fn is_known(&self, credential: CredentialId, caller: Caller) -> bool {
        self.state.parts.source.is_known(credential, caller)
    }

    /// How long upstream's acceptance of a key for an agent is still valid.
    pub fn trusted_for(&self, credential: CredentialId, agent: AgentId) -> Duration {
        self.state.access.trusted_for(credential, agent)
    }

    /// Checks that upstream still accepts the key of a running response for its agents. Returns how long that
    /// need not be checked again. While upstream fails, the key passes.
    ///
    /// # Errors
    /// [`AskError::Source`] with upstream's refusal, and the agent.
    pub async fn check_again(
        &self,
        caller: Caller,
        credential: &Credential,
        agents: &[AgentId],
        trace: Trace,
    ) -> Result<Duration, SectionError> {
        sections::check_again(&self.state, caller, credential, agents, trace).await
    }

    /// Checks that upstream accepts a key as a whole: it did so within the last minute, or is asked now with
    /// one request. While upstream fails, a key that was accepted within `stale-if-error` passes.
    ///
    /// # Errors
    /// [`AskError::Source`].
    pub async fn prove_key(
        &self,
        caller: Caller,
        credential: &Credential,
        by: Instant,
        trace: Trace,
    ) -> Result<(), AskError> {
        ask::prove_key(&self.state, caller, credential, by, trace).await
    }

    /// What a caller's requests to upstream can expect now.
    pub fn outlook(&self, credential: CredentialId, caller: Caller) -> SourceOutlook {
        self.state.parts.source.outlook(credential, caller)
    }

    /// By how much a caller's times to live are stretched, at least 1.
    pub fn stretch_of(&self, caller: CallerId) -> f64 {
        self.state.parts.stretch.last(caller)
    }

    /// The current time of the clock that measures ages.
    pub fn now(&self) -> Timestamp {
        self.state.parts.clock.now()
    }

    /// Compares the response to a question with the rows that its caller has.
    pub fn compare(
        &self,
        question: FollowedQuestion,
        since: Option<Cursor>,
        caller: (CallerId, CredentialId),
        logging: Logging,
    ) -> Comparison {
        let state = &self.state;
        Comparison::begin(&state.changes, question, since, caller, logging, state.parts.clock.now())
    }

    /// The holdings of a new response of a caller: nothing yet.
    pub fn new_held(&self, caller: CallerId) -> HeldMemory {
        self.state.memory.of(caller)
    }

    /// Records that a change log is used for a response without rows.
    pub fn touch(&self, comparison: &Comparison) {
        comparison.touch(&self.state.changes, self.state.parts.clock.now());
    }

    /// Ends a comparison with a complete response, and makes the result the latest of its question.
    pub fn finish(
        &self,
        comparison: &mut Comparison,
        verdict: &Verdict,
        confirmation: Confirmation,
    ) -> Finished {
        let state = &self.state;
        comparison.finish(&state.changes, verdict, confirmation, state.parts.clock.now())
    }

    /// Asks upstream once more whether the rows that vanished from a question's agent are gone.
    ///
    /// # Errors
    /// They are not gone, or upstream can't be asked.
    pub async fn confirm_gone(&self, question: &Question, vanished: &Vanished) -> Result<(), AskError> {
        confirm::confirm_gone(&self.state, question, vanished).await
    }

    /// How many change logs are kept, and how large they are.
    pub fn change_logs(&self) -> ChangeLogReadings {
        self.state.changes.stats()
    }

    /// How many scopes are kept.
    pub fn scopes(&self) -> usize {
        self.state.scopes.len()
    }

    /// The largest factor, over all callers, by which times to live are stretched because due reads exceed
    /// the budget; at least 1.
    pub fn stretch(&self) -> f64 {
        self.state.parts.stretch.most()
    }

    /// How many bytes the responses hold that are completed before they are sent.
    pub fn response_bytes(&self) -> u64 {
        self.state.memory.held()
    }

    /// How many walks had to be repaired since the start.
    pub fn repairs(&self) -> u64 {
        self.state.reads.repairs()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
