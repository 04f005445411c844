//! The trait between the engine, which decides what to read, and the code that reads it.
//!
//! [`crate::upstream`] implements it over HTTP, behind the gate; tests implement it with a script. A source retries
//! within the limits of the [`RequestContext`], so an error that reaches the engine is final for its page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::{AgentFacts, AgentId, Caller, Credential, CredentialId, Filters, Page, PageOf};
pub use crate::telemetry::Trace;

/// A request to upstream.
pub type SourceFuture<'a, T> = BoxFuture<'a, Result<T, SourceError>>;

/// Reads pages, agents and users from upstream.
///
/// An implementation marks the context's [`SentAt`] each time it sends a request.
pub trait Source: Send + Sync + 'static {
    /// Reads one page of an agent's executions.
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Page>;

    /// Reads an agent's facts. Upstream checks the credential on the way.
    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, AgentFacts>;

    /// Reads the list of a credential's agents, with the facts about each. Upstream checks the credential on the way; that it
    /// refuses the list does not mean that it refuses the credential.
    fn agents<'a>(
        &'a self,
        credential: &'a Credential,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Vec<(AgentId, AgentFacts)>>;

    /// Asks upstream whether it accepts a credential at all, independent of any agent. Only [`SourceError::Denied`]
    /// means no; any other error leaves the question open.
    fn user<'a>(&'a self, credential: &'a Credential, context: &'a RequestContext) -> SourceFuture<'a, ()>;

    /// Reads one page with a client's query string, byte for byte.
    fn relay<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        query: &'a str,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, RelayedPage>;

    /// Whether a caller's share of the budget has room for refreshes. A source without a budget always has.
    fn room(&self, _credential: CredentialId, _caller: Caller) -> Headroom {
        Headroom::Ample
    }

    /// Estimates how long it takes until the budget has room for this many more requests of a caller.
    fn room_for(&self, credential: CredentialId, caller: Caller, urgency: Urgency, requests: u64)
    -> Duration;

    /// Whether a page may be requested before its key is checked: not while other keys wait for their check.
    fn may_send_ahead(&self, _credential: CredentialId, _caller: Caller) -> bool {
        true
    }

    /// Whether upstream recently accepted the caller's key, or the gateway checked its token.
    fn is_known(&self, _credential: CredentialId, _caller: Caller) -> bool {
        true
    }

    /// What the source can do now for a credential. One without a budget can do anything.
    fn outlook(&self, _credential: CredentialId, _caller: Caller) -> SourceOutlook {
        SourceOutlook { health: SourceHealth::Ok, budget: None, paused_for: None }
    }

    /// How far upstream's clock is ahead of ours, in microseconds, learned from the `Date` of its responses.
    fn clock_ahead_micros(&self) -> i64;
}

/// Whether the budget has room for more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headroom {
    /// Requests go at once.
    Ample,
    /// Next to nothing is left: a request may have to wait.
    Short,
}

/// What a source can do now for one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceOutlook {
    /// Whether requests succeed.
    pub health: SourceHealth,
    /// The budget that the credential's requests count in; none without a limit.
    pub budget: Option<RemainingBudget>,
    /// How long until the next request may be sent; none if that is now.
    pub paused_for: Option<Duration>,
}

/// Whether requests to upstream succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceHealth {
    /// As far as is known, yes.
    Ok,
    /// Requests wait, because upstream refused one with 429 or the budget is spent.
    Limited,
    /// Upstream failed so often that requests are refused without asking it.
    Down,
}

/// How much of a budget is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingBudget {
    /// The most requests in any period.
    pub limit: u32,
    /// The length of the period.
    pub period: Duration,
    /// How many requests may be sent at once.
    pub left: usize,
}

/// A list of executions, independent of dates and page number.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The credential to ask with.
    pub credential: Credential,
    /// The agent whose executions are listed.
    pub agent: AgentId,
    /// Upstream's filters.
    pub filters: Filters,
}

/// A page as upstream wrote it, and the rows that could be parsed from it.
#[derive(Clone, Debug)]
pub struct RelayedPage {
    /// The body, decoded from its transfer and content coding.
    pub body: Bytes,
    /// The rows in it; none if the body does not have the shape of a page.
    pub page: Option<Page>,
}

/// On whose behalf upstream is asked, how urgently, and how long that may take.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The caller whose share of the budget is used; for a shared read, the one who began it.
    pub caller: Caller,
    /// Within a caller's share, questions take turns.
    pub question: QuestionId,
    /// Which questions go first.
    pub urgency: Urgency,
    /// When a response is no longer of any use, waits for the budget included. None for a stream.
    pub deadline: Option<Deadline>,
    /// The longest wait for room in the budget, after which the request fails with [`SourceError::RateLimited`].
    pub budget_wait: Option<Duration>,
    /// How long failed attempts may be retried, waits for the budget excluded. Zero: never.
    pub retry_for: Duration,
    /// The trace of the request; for a shared read, that of the caller who began it.
    pub trace: Trace,
    /// Records when the request is sent. Each request has its own.
    pub sent: SentAt,
    /// How long the question's requests waited for the budget. All requests of a question share it.
    pub budget_clock: BudgetClock,
}

#[cfg(test)]
impl RequestContext {
    /// A question of its own by a caller with a key, without deadlines and retries.
    pub(crate) fn for_test(urgency: Urgency) -> Self {
        Self {
            caller: Caller::of_key(CredentialId::new([1; 16])),
            question: QuestionId::unique(),
            urgency,
            deadline: None,
            budget_wait: None,
            retry_for: Duration::ZERO,
            trace: Trace::default(),
            sent: SentAt::default(),
            budget_clock: BudgetClock::default(),
        }
    }
}

/// Measures how long the requests of one question waited for the rate budget while none of them was under
/// way. A stream's next row may exceed its deadline by this time.
#[derive(Clone, Debug, Default)]
pub struct BudgetClock(Arc<Mutex<BudgetWait>>);

#[derive(Debug, Default)]
struct BudgetWait {
    waiting: usize,
    under_way: usize,
    /// Since when one waits and none is under way.
    since: Option<Instant>,
    waited: Duration,
}

/// The current phase of one request of a question. Dropping it ends the phase.
#[derive(Debug)]
pub struct RequestPhase<'a> {
    clock: &'a BudgetClock,
    count: fn(&mut BudgetWait) -> &mut usize,
}

impl BudgetClock {
    /// Another request waits for the budget.
    pub fn wait(&self) -> RequestPhase<'_> {
        self.begin(|wait| &mut wait.waiting)
    }

    /// Another request is under way.
    pub fn go(&self) -> RequestPhase<'_> {
        self.begin(|wait| &mut wait.under_way)
    }

    /// The total of the waits so far, including one in progress.
    pub fn waited(&self) -> Duration {
        let wait = self.0.lock();
        wait.waited + wait.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn begin(&self, count: fn(&mut BudgetWait) -> &mut usize) -> RequestPhase<'_> {
        self.change(|wait| *count(wait) += 1);
        RequestPhase { clock: self, count }
    }

    fn change(&self, change: impl FnOnce(&mut BudgetWait)) {
        let mut wait = self.0.lock();
        change(&mut wait);
        match (wait.waiting > 0 && wait.under_way == 0, wait.since) {
            (true, None) => wait.since = Some(Instant::now()),
            (false, Some(since)) => {
                wait.waited += since.elapsed();
                wait.since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

impl Drop for RequestPhase<'_> {
    fn drop(&mut self) {
        self.clock.change(|wait| *(self.count)(wait) -= 1);
    }
}

/// When a request was sent upstream; the data it returns is no older. Clones share one instant.
#[derive(Clone, Debug, Default)]
pub struct SentAt {
    sent_at: Arc<Mutex<Option<Instant>>>,
}

impl SentAt {
    /// Records that the request waits for its turn, for the first time or because an attempt failed.
    pub fn mark_waiting(&self) {
        self.set(None);
    }

    /// Records that the request is sent now.
    pub fn mark_sent(&self) {
        self.set(Some(Instant::now()));
    }

    /// When the request was sent; `None` while it waits.
    pub fn sent_at(&self) -> Option<Instant> {
        *self.sent_at.lock()
    }

    fn set(&self, sent_at: Option<Instant>) {
        *self.sent_at.lock() = sent_at;
    }
}

/// Identifies a question, so that questions take turns. All pages of a question share its identifier.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A client waits, and a few pages bring its response up to date: goes first, and may use the whole budget.
    Refresh,
    /// A client waits for history that was never read: leaves the reserve for refreshes alone.
    Cold,
    /// No client waits: uses only the part of the budget that nothing else needs.
    Renewal,
}

/// The deadline of a shared read. Callers that join the read may move it later, never earlier.
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

    /// Moves the deadline to a later instant; an earlier one changes nothing.
    pub fn extend_to(&self, instant: Instant) {
        let length = instant.saturating_duration_since(self.start).as_micros();
        self.micros.fetch_max(u64::try_from(length).unwrap_or(u64::MAX / 2), Ordering::Relaxed);
    }

    /// The deadline as it is now.
    pub fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// Why a request to upstream failed. A source has already retried where that can help.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// Upstream refused the credential (401 or 403). Not retried.
    #[error("upstream refused the credential: {}", .0.message)]
    Denied(UpstreamWords),
    /// Upstream does not know the agent, or not for this credential (404). Not retried.
    #[error("upstream has no such agent: {}", .0.message)]
    AgentNotFound(UpstreamWords),
    /// Upstream refused the request (400, 422 and other 4xx). Not retried.
    #[error("upstream refused the request: {}", .0.message)]
    Refused(UpstreamWords),
    /// Upstream's limit (429), or the budget, leaves no room in time. Retried within the context's limits.
    #[error("no room in the rate limit")]
    RateLimited {
        /// When there may be room again.
        retry_after: Duration,
        /// What upstream said, if it was upstream.
        upstream: Option<UpstreamWords>,
    },
    /// Upstream can't be reached, broke the connection, responded with 5xx, or the breaker is open. Retried
    /// within the context's limits.
    #[error("upstream is unavailable: {detail}")]
    Unavailable {
        /// What happened, without secrets.
        detail: String,
        /// When a retry may help, where known.
        retry_after: Option<Duration>,
        /// What upstream said, if it responded.
        upstream: Option<UpstreamWords>,
    },
    /// Upstream took longer than an attempt may. Retried within the context's limits.
    #[error("upstream did not respond in time")]
    TimedOut,
    /// Upstream's 200 is not a page. Retried once, because proxies may respond like this for a moment.
    #[error("upstream's response violates its contract: {detail}")]
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

#[cfg(test)]
mod tests;
