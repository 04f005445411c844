//! Serves upstream's own pages, byte for byte. They are kept whole under their query, independently of
//! coverage.
//!
//! A relayed page says nothing about the pages around it, so nothing is learned from it except that upstream
//! accepts the key. It is as fresh as its least settled row; a page that reaches the present, or is filtered
//! by something that changes, is only as fresh as the rows that may still join it. A page that can't be
//! parsed is passed on and not kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::access::KnownAccess;
use super::background;
use super::coverage::{digest, place};
use super::freshness::{Class, Membership, Policy};
use super::knowledge;
use super::page_cache::{Fetched, KeptPage, RelayKey};
use super::single_flight::Listener;
use super::state::SharedState;
use super::terms::{AskError, CacheDirectives, CacheReport, Freshness, StaleReason};
use crate::domain::{AgentId, Caller, Credential, Digest, EntryIndex, Span, Timestamp};
use crate::source::{
    BudgetClock, Deadline, QuestionId, RelayedPage, RequestContext, SentAt, SourceError, Trace, Urgency,
};

/// A request for one of upstream's own pages.
#[derive(Clone, Debug)]
pub struct RelayQuestion {
    /// The caller, whose share of the budget is used.
    pub caller: Caller,
    /// The credential for upstream.
    pub credential: Credential,
    /// The agent of the executions.
    pub agent: AgentId,
    /// The query string for upstream, unchanged from the caller's.
    pub query: String,
    /// The query in canonical form: the key under which the page is stored.
    pub canonical_query: String,
    /// The latest `created_at` that the query selects; `None` if it has none in a known form.
    pub to: Option<Timestamp>,
    /// Whether the query filters by something that changes, so that rows enter and leave.
    pub has_changing_filter: bool,
    /// The request's `Cache-Control`.
    pub directives: CacheDirectives,
    /// The deadline for the page.
    pub deadline: Instant,
    /// The caller's trace.
    pub trace: Trace,
}

/// One of upstream's own pages.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The body, byte for byte.
    pub body: Bytes,
    /// A digest of it.
    pub digest: Digest,
    /// How old it is.
    pub freshness: Freshness,
    /// Its rows by origin.
    pub report: CacheReport,
}

/// How long a refresh of a page that may be served stale waits for room in the budget.
const BUDGET_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn relay(state: &Arc<SharedState>, question: RelayQuestion) -> Result<Relayed, AskError> {
    let (deadline, credential, caller) = (question.deadline, question.credential.id(), question.caller);
    let answer = tokio::time::timeout_at(deadline, answer(state, question)).await;
    answer.unwrap_or_else(|_| Err(AskError::nothing_ready(&*state.parts.source, credential, caller)))
}

async fn answer(state: &Arc<SharedState>, question: RelayQuestion) -> Result<Relayed, AskError> {
    let now = state.parts.clock.now();
    let key: RelayKey = (question.credential.id(), question.agent, question.canonical_query.as_str().into());
    let membership = if question.has_changing_filter { Membership::Spans } else { Membership::Fixed };
    let policy = state
        .parts
        .policy(membership, question.credential.id(), question.caller)
        .wished(&question.directives);
    let standing = state.access.known(key.0, key.1);
    if let KnownAccess::Refused(error) = standing {
        return Err(error.into());
    }
    let mut request =
        PageRequest { state, question: &question, context: context(&question), key, policy, now };
    let kept = state.pages.kept.get(&request.key);
    if let Some(kept) = &kept
        && let Some((freshness, stale)) = request.may_be_given(kept)
    {
        if matches!(standing, KnownAccess::Unknown) {
            request.admitted().await?;
        }
        if stale.is_some() {
            request.renew();
        }
        return Ok(relayed(kept, freshness, stale));
    }
    if question.directives.only_if_cached {
        return Err(AskError::NotCached);
    }
    if kept.as_ref().is_some_and(|kept| request.may_be_stale(kept)) {
        // A response that may be stale does not wait.
        (request.context.retry_for, request.context.budget_wait) = (Duration::ZERO, Some(BUDGET_WAIT));
    }
    let lost = |_| {
        let detail = "the read broke off".to_owned();
        Err(SourceError::Unavailable { detail, retry_after: None, upstream: None })
    };
    let fetched = fetch(state, &request.key, &question, request.context.clone()).await;
    match fetched.unwrap_or_else(lost) {
        Ok(fetched) => {
            state.access.accepted(request.key.0, request.key.1);
            let freshness = Freshness { age: Duration::ZERO, ..request.freshness(&fetched) };
            Ok(relayed(&fetched, freshness, None))
        }
        Err(error) => request.instead(error, kept).await,
    }
}

/// A request for a page in progress.
struct PageRequest<'a> {
    state: &'a Arc<SharedState>,
    question: &'a RelayQuestion,
    key: RelayKey,
    policy: Policy,
    now: Timestamp,
    context: RequestContext,
}

impl PageRequest<'_> {
    fn freshness(&self, kept: &KeptPage) -> Freshness {
        freshness(kept, &self.policy, self.now)
    }

    /// The age of a stored page that may be served before upstream is asked, and the reason if it is stale.
    fn may_be_given(&self, kept: &KeptPage) -> Option<(Freshness, Option<StaleReason>)> {
        let (directives, freshness) = (&self.question.directives, self.freshness(kept));
        let needed = freshness.age.saturating_add(directives.min_fresh.unwrap_or_default());
        if needed <= freshness.lifetime {
            return Some((freshness, None));
        }
        let late = freshness.age.saturating_sub(freshness.lifetime);
        let allowed = directives.may_be_stale_for(self.state.parts.settings.stale_while_revalidate);
        let is_allowed = !late.is_zero() && late <= allowed;
        is_allowed.then_some((freshness, Some(StaleReason::Revalidating)))
    }

    /// Whether a stored page may be served if upstream fails.
    fn may_be_stale(&self, kept: &KeptPage) -> bool {
        let freshness = self.freshness(kept);
        freshness.age <= freshness.lifetime.saturating_add(self.state.parts.settings.stale_if_error)
    }

    /// Fetches the page in the background.
    fn renew(&self) {
        if self.question.directives.only_if_cached {
            return;
        }
        let Some(place) = self.state.background.place() else { return };
        let deadline = Some(Deadline::at(Instant::now() + background::LONGEST));
        let context = RequestContext { deadline, ..self.context.clone() };
        let fetched = fetch(self.state, &self.key, self.question, context);
        place.run(async move {
            // A page that can't be renewed stays stale for longer; the next request tries again.
            let _ended = fetched.await;
        });
    }

    /// Replaces a temporary failure by the stored page, if that is allowed.
    ///
    /// # Errors
    /// The failure, if it is not allowed.
    async fn instead(&self, error: SourceError, kept: Option<Arc<KeptPage>>) -> Result<Relayed, AskError> {
        let reason = match error {
            SourceError::Denied(_) | SourceError::AgentNotFound(_) => {
                self.admitted().await?;
                return Err(error.into());
            }
            SourceError::Refused(_) => return Err(error.into()),
            SourceError::RateLimited { .. } => StaleReason::RateLimited,
            SourceError::Unavailable { .. } | SourceError::TimedOut | SourceError::Malformed { .. } => {
                StaleReason::UpstreamFailed
            }
        };
        let Some(kept) = kept.filter(|kept| self.may_be_stale(kept)) else { return Err(error.into()) };
        self.admitted().await?;
        Ok(relayed(&kept, self.freshness(&kept), Some(reason)))
    }

    /// Checks that upstream accepts the credential for the agent.
    async fn admitted(&self) -> Result<(), AskError> {
        let RelayQuestion { credential, agent, .. } = self.question;
        match self.state.access.check(credential, *agent, &self.context).await {
            Ok(_) => Ok(()),
            Err(error) => {
                knowledge::drop_refused(self.state, credential.id(), *agent, &error);
                Err(error.into())
            }
        }
    }
}

fn context(question: &RelayQuestion) -> RequestContext {
    RequestContext {
        caller: question.caller,
        question: QuestionId::unique(),
        urgency: Urgency::Refresh,
        deadline: Some(Deadline::at(question.deadline)),
        budget_wait: None,
        retry_for: question.deadline.saturating_duration_since(Instant::now()),
        trace: question.trace.clone(),
        sent: SentAt::default(),
        budget_clock: BudgetClock::default(),
    }
}

fn relayed(kept: &KeptPage, freshness: Freshness, stale: Option<StaleReason>) -> Relayed {
    let rows = kept.index.as_ref().map_or(0, |index| index.len() as u64);
    let mut report = CacheReport { stale, ..CacheReport::default() };
    if stale.is_some() {
        report.stale_rows = rows;
    } else if freshness.age.is_zero() {
        (report.miss_rows, report.upstream_requests) = (rows, 1);
    } else {
        report.hit_rows = rows;
    }
    Relayed { body: kept.body.clone(), digest: kept.digest, freshness, report }
}

/// The age of a page and its limit: as for its least settled row and for rows that may join it. An empty page
/// may get rows at any moment.
fn freshness(kept: &KeptPage, policy: &Policy, now: Timestamp) -> Freshness {
    let age = now.since(kept.read_at);
    let Some(index) = &kept.index else { return Freshness { age, lifetime: Duration::ZERO } };
    let live = policy.ttl(Class::Live);
    let by_rows = index.rows().iter().map(|row| policy.due(&row, now).ttl).min().unwrap_or(live);
    let by_reach = kept.to.map_or(live, |to| policy.place_due(to, kept.read_at, now).ttl);
    Freshness { age, lifetime: by_rows.min(by_reach) }
}

/// Fetches a page, shared by all requests for it, and stores it if that is allowed.
fn fetch(
    state: &Arc<SharedState>,
    key: &RelayKey,
    question: &RelayQuestion,
    context: RequestContext,
) -> Listener<Fetched> {
    let joined_until = context.deadline.clone();
    let begin = |deadline| {
        let context = RequestContext { deadline, ..context };
        let (state, question) = (Arc::clone(state), question.clone());
        async move {
            let read_at = state.parts.clock.now();
            let late =
                state.parts.clock.upstream_now(&*state.parts.source).minus(state.parts.settings.commit_lag);
            let to = question.to.filter(|to| *to < late);
            let RelayQuestion { credential, agent, query, .. } = &question;
            let RelayedPage { body, page } =
                state.parts.source.relay(credential, *agent, query, &context).await?;
            // Indexed once, for all requests that are answered from the page.
            let index = page.map(|page| EntryIndex::new(&place(page, None, Span::at(read_at), read_at)));
            Ok(Arc::new(KeptPage { digest: digest(&body), body, index, read_at, to }))
        }
    };
    let (kept, may_be_kept) = (state.pages.kept.clone(), !question.directives.no_store);
    let land_as = key.clone();
    let land = move |fetched: &Fetched| {
        if let Ok(fetched) = fetched
            && fetched.index.is_some()
            && may_be_kept
        {
            kept.insert(land_as, Arc::clone(fetched));
        }
    };
    state.pages.fetching.join(key.clone(), joined_until.as_ref(), begin, land)
}
