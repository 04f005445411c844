//! Where pages come from: the seam between the engine, which decides what to read, and whoever reads it.
//!
//! [`crate::upstream`] implements it over HTTP, with the gate in front; tests implement it with a script. A source
//! retries by itself, within what the [`Turn`] allows, so an error that reaches the engine is final for its page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::domain::{AgentFacts, AgentId, Caller, Credential, CredentialId, Filters, Page, PageOf};
pub use crate::telemetry::Trace;

/// Where pages come from.
///
/// Whoever implements it tells the turn's [`Departure`] of every request that goes.
pub trait Source: Send + Sync + 'static {
    /// Reads one page of an agent's executions.
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<Page, SourceError>>;

    /// Reads what upstream tells of an agent, which at once checks the credential.
    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<AgentFacts, SourceError>>;

    /// Asks whether upstream accepts a credential as a whole, whatever it may see. Only [`SourceError::Denied`] says that it
    /// does not; any other error says nothing.
    fn user<'a>(
        &'a self,
        credential: &'a Credential,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<(), SourceError>>;

    /// Reads one page for the query string that a client wrote, byte for byte.
    fn relay<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        query: &'a str,
        turn: &'a Turn,
    ) -> BoxFuture<'a, Result<RelayedPage, SourceError>>;

    /// Whether a caller's share of the budget has room for what keeps answers fresh. A source without a budget always has.
    fn room(&self, _credential: CredentialId, _caller: Caller) -> Room {
        Room::Ample
    }

    /// How long it probably takes until so many more requests of a caller have room in the budget.
    fn room_for(&self, credential: CredentialId, caller: Caller, urgency: Urgency, requests: u64)
    -> Duration;

    /// Whether a page may be sent ahead of the check of its key: not while others wait to have theirs checked.
    fn may_send_ahead(&self, _credential: CredentialId, _caller: Caller) -> bool {
        true
    }

    /// Whether a caller is known: upstream accepted its key lately, or the gateway checked its token.
    fn is_known(&self, _credential: CredentialId, _caller: Caller) -> bool {
        true
    }

    /// How far upstream's clock is ahead of ours, in microseconds, as learned from its answers' `Date`.
    fn clock_ahead_micros(&self) -> i64;
}

/// How much of the budget is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Ample,
    /// Next to nothing: a request may have to wait.
    Short,
}

/// What a page is of, dates and number aside.
#[derive(Clone, Debug)]
pub struct Subject {
    /// With which credential to ask.
    pub credential: Credential,
    /// Whose executions.
    pub agent: AgentId,
    /// Which of them.
    pub filters: Filters,
}

/// A page as upstream wrote it, and what could be read of it.
#[derive(Clone, Debug)]
pub struct RelayedPage {
    /// The body, decoded from its transfer and content coding.
    pub body: Bytes,
    /// The rows in it; none if the body is not of a page's shape.
    pub page: Option<Page>,
}

/// On whose behalf upstream is asked, how urgently, and how long that may take.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Who asks: turns are taken per caller first. Of a shared read, the one who began it.
    pub caller: Caller,
    /// Turns are taken per question.
    pub question: QuestionId,
    /// Which questions go first.
    pub urgency: Urgency,
    /// When an answer is of no use any more; waiting for the budget counts. None for a stream.
    pub deadline: Option<Deadline>,
    /// The longest wait for room in the budget; past it the answer is [`SourceError::RateLimited`].
    pub budget_wait: Option<Duration>,
    /// For how long, waits for the budget not counted, a failed attempt may be followed by another. Zero: never.
    pub retry_for: Duration,
    /// The trace that what is asked belongs to: of a shared read, that of the caller who began it.
    pub trace: Trace,
    /// Told when the request goes. Each request has its own.
    pub departure: Departure,
}

/// When a request went upstream: what it brings is no older. Before, it waits for its turn.
#[derive(Clone, Debug, Default)]
pub struct Departure {
    went_at: Arc<Mutex<Option<Instant>>>,
}

impl Departure {
    /// It waits for its turn, for the first time or because an attempt failed.
    pub fn waits(&self) {
        self.set(None);
    }

    /// It goes now.
    pub fn goes(&self) {
        self.set(Some(Instant::now()));
    }

    /// When it went; none while it waits.
    pub fn went_at(&self) -> Option<Instant> {
        *self.went_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, went_at: Option<Instant>) {
        *self.went_at.lock().unwrap_or_else(PoisonError::into_inner) = went_at;
    }
}

/// Tells questions apart, for fair turns. A question keeps its own for all its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuestionId(u64);

impl QuestionId {
    /// An identifier that no other question of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Which questions go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody waits, and a few pages bring an answer up to date: goes first, and may use all of the budget.
    Refresh,
    /// Somebody waits for history that was never read; leaves the refreshes' reserve alone.
    Cold,
    /// Nobody waits; only from what is to spare.
    Renewal,
}

/// An instant that those who wait for a shared read move out, never in.
#[derive(Clone, Debug)]
pub struct Deadline {
    start: Instant,
    micros: Arc<AtomicU64>,
}

impl Deadline {
    /// A deadline at this instant.
    pub fn at(instant: Instant) -> Self {
        let start = Instant::now();
        let deadline = Self { start, micros: Arc::default() };
        deadline.extend_to(instant);
        deadline
    }

    /// Moves it out to a later instant.
    pub fn extend_to(&self, instant: Instant) {
        let length = instant.saturating_duration_since(self.start).as_micros();
        self.micros.fetch_max(u64::try_from(length).unwrap_or(u64::MAX / 2), Ordering::Relaxed);
    }

    /// The instant it is at now.
    pub fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// Why a page could not be had. Each says whether asking again can help: a source has then already done so.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// Upstream refused the credential (401 or 403). Not retried.
    #[error("upstream refused the credential: {}", .0.message)]
    Denied(UpstreamWords),
    /// Upstream does not know the agent, or not for this credential (404). Not retried.
    #[error("upstream has no such agent: {}", .0.message)]
    AgentNotFound(UpstreamWords),
    /// Upstream refused the question (400, 422 and other 4xx). Not retried.
    #[error("upstream refused the question: {}", .0.message)]
    Refused(UpstreamWords),
    /// Upstream's limit (429), or the budget, leaves no room in time. Retried within the turn.
    #[error("no room in the rate limit")]
    RateLimited {
        /// When there may be room again.
        retry_after: Duration,
        /// What upstream said, if it was upstream.
        upstream: Option<UpstreamWords>,
    },
    /// Upstream can't be reached, broke off, answers 5xx, or the breaker is open. Retried within the turn.
    #[error("upstream is unavailable: {detail}")]
    Unavailable {
        /// What happened, without secrets.
        detail: String,
        /// When asking again may help, where known.
        retry_after: Option<Duration>,
        /// What upstream said, if it spoke.
        upstream: Option<UpstreamWords>,
    },
    /// Upstream took longer than an attempt may. Retried within the turn.
    #[error("upstream did not answer in time")]
    TimedOut,
    /// Upstream answered 200 with something that is no page. Retried once: proxies answer so for a moment.
    #[error("upstream's answer is not what its contract says: {detail}")]
    Malformed {
        /// What is wrong with it, without any of its content.
        detail: String,
    },
}

/// A refusal in upstream's own words.
#[derive(Clone, Debug)]
pub struct UpstreamWords {
    /// Its status.
    pub status: u16,
    /// Its message, detail or error, shortened.
    pub message: String,
}
