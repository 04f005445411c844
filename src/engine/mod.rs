//! Decides what is known, what to read, and how an answer is put together.
//!
//! A question is canonical, and its key is checked with upstream ([`access`]). Its [`scope`] holds what is known as
//! [`coverage`]. A [`plan`] says which spans to read, [`reading`] reads them once for everybody who waits, and an [`Answer`]
//! takes the rows from both in order. [`freshness`] says how old each row may get. [`relay`] serves upstream's own pages,
//! independently of all that.

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

/// Answers questions. Clones are one and the same.
#[derive(Clone)]
pub struct Engine {
    state: Arc<SharedState>,
}

impl Engine {
    /// An engine that reads through `source`, keeps in `store`, and spawns its reads in `shutdown`. With a tier, it saves there
    /// what it reads, and restores it from there before it asks upstream.
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
    /// Returns once the first rows are there, or it is certain that there are none, so that a refusal can still be
    /// a status.
    ///
    /// # Errors
    /// All of [`AskError`] but `TooLarge`.
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

    /// A response about several agents: what `question` asks, about each of them. Nothing is asked of upstream yet.
    pub fn sections(&self, question: Question, agents: SectionAgents) -> Sections {
        Sections::new(&self.state, question, agents)
    }

    /// One page for the query string that a client wrote, byte for byte, kept for the freshness of its least settled
    /// row under `canonical_query`.
    ///
    /// # Errors
    /// [`AskError::Source`], [`AskError::NotCached`], [`AskError::NotReady`], [`AskError::ShuttingDown`].
    pub async fn relay(&self, question: RelayQuestion) -> Result<Relayed, AskError> {
        relay::relay(&self.state, question).await
    }

    /// How old an execution may get that was read just now.
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

    /// How old what is known of an agent may get.
    pub fn agent_lifetime(&self) -> Duration {
        self.state.parts.settings.settling_ttl
    }

    /// Forgets all that is kept of an agent, under every credential, here and in the tier.
    ///
    /// # Errors
    /// The purge could not be saved to the tier: after a restart, what is kept there of the agent is served again.
    pub async fn forget(&self, agent: AgentId) -> Result<(), TierUnavailable> {
        knowledge::forget(&self.state, agent).await
    }

    /// The tier, and whether it is used at the moment; none without one.
    pub fn tier(&self) -> Option<TierStatus> {
        self.state.parts.tier.as_ref().map(|tier| tier.status())
    }

    /// Whether a caller is known: upstream accepted its key lately, or the gateway checked its token.
    pub fn is_known(&self, credential: CredentialId, caller: Caller) -> bool {
        self.state.parts.source.is_known(credential, caller)
    }

    /// For how long upstream's acceptance of a key for an agent still holds.
    pub fn trusted_for(&self, credential: CredentialId, agent: AgentId) -> Duration {
        self.state.access.trusted_for(credential, agent)
    }

    /// Makes sure that upstream still accepts the key of a running response for its agents. Returns for how long that need not
    /// be checked again; while upstream fails, it refuses nobody.
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

    /// Makes sure that upstream accepts a key as a whole: it did so within the last minute, or is asked now, which takes one
    /// request. While upstream fails, a key that was accepted within `stale-if-error` passes.
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

    /// The time that ages are measured with.
    pub fn now(&self) -> Timestamp {
        self.state.parts.clock.now()
    }

    /// Compares the response to a question with what its caller has.
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

    /// What a new response of a caller holds: nothing yet.
    pub fn new_held(&self, caller: CallerId) -> HeldMemory {
        self.state.memory.of(caller)
    }

    /// Notes that a change log is used for a response without rows.
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
    /// If they are not, and if upstream can't be asked.
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

    /// By how much times to live are stretched because what is due exceeds the budget: at least 1, and of all
    /// credentials the most.
    pub fn stretch(&self) -> f64 {
        self.state.parts.stretch.most()
    }

    /// How many bytes responses hold that are made up in full before they are sent.
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
