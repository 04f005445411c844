//! Upstream's own pages, byte for byte: kept whole under their query, apart from coverage.
//!
//! A relayed page says nothing of the pages around it, so nothing is learned from it but that upstream accepts the
//! key. It is as fresh as its least settled row, and as what may come onto it: where it reaches up to the present, or is
//! filtered by what changes. A page that can't be read as one is passed on and not kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::AskError;
use super::access::Known as Standing;
use super::ask::drop_refused;
use super::background;
use super::freshness::Membership;
use super::inner::Inner;
use super::question::CacheDirectives;
use super::reading::place;
use super::single_flight::{Listener, SingleFlight};
use super::verdict::{CacheReport, Freshness, StaleReason};
use crate::domain::{AgentId, Caller, Credential, CredentialId, Entry, Filters, Page, Span, Timestamp};
use crate::shutdown::Shutdown;
use crate::source::{
    BudgetClock, Deadline, QuestionId, RelayedPage, RequestContext, SentAt, SourceError, Subject, Trace,
    Urgency,
};

/// A question for one page of upstream's own.
#[derive(Clone, Debug)]
pub struct RelayQuestion {
    /// Who asks: whose share of the budget is used.
    pub caller: Caller,
    /// With which credential upstream is asked.
    pub credential: Credential,
    /// Whose executions.
    pub agent: AgentId,
    /// The query string that goes upstream, as the caller wrote it.
    pub query: String,
    /// The same in canonical form: what the page is kept under.
    pub canonical_query: String,
    /// The latest `created_at` that the query asks about; none if it does not say so in a form that is known.
    pub to: Option<Timestamp>,
    /// Whether the query filters by what changes, so that rows enter and leave.
    pub has_changing_filter: bool,
    /// What the caller wishes of the cache.
    pub directives: CacheDirectives,
    /// When the page must be there.
    pub deadline: Instant,
    /// The caller's trace.
    pub trace: Trace,
}

/// A page of upstream's own.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The body, byte for byte.
    pub body: Bytes,
    /// How old it is.
    pub freshness: Freshness,
    /// How it was come by.
    pub report: CacheReport,
}

/// How long a page that may be stale waits for room in the budget.
const BUDGET_WAIT: Duration = Duration::from_secs(2);

/// What a page is kept under.
type Key = (CredentialId, AgentId, Arc<str>);
/// What comes of a fetch.
type Fetched = Result<Arc<Kept>, SourceError>;

#[derive(Debug)]
struct Kept {
    body: Bytes,
    page: Option<Page>,
    read_at: Timestamp,
    /// Up to when its rows were created; none if that was the present.
    to: Option<Timestamp>,
}

/// The pages that are kept, and those being fetched.
pub(super) struct Relays {
    kept: moka::sync::Cache<Key, Arc<Kept>>,
    fetching: SingleFlight<Key, Fetched>,
}

impl Relays {
    pub(super) fn new(max_bytes: u64, shutdown: Shutdown) -> Self {
        let weigh = |key: &Key, kept: &Arc<Kept>| {
            let rows = kept.page.as_ref().map_or(0, |page| page.rows.len() * 256);
            u32::try_from(key.2.len() + kept.body.len() + rows + 512).unwrap_or(u32::MAX)
        };
        let kept = moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Self { kept, fetching: SingleFlight::new(shutdown) }
    }

    pub(super) fn drop_credential(&self, credential: CredentialId, agent: Option<AgentId>) {
        self.drop_where(|key| key.0 == credential && agent.is_none_or(|agent| key.1 == agent));
    }

    pub(super) fn forget(&self, agent: AgentId) {
        self.drop_where(|key| key.1 == agent);
    }

    fn drop_where(&self, is_meant: impl Fn(&Key) -> bool) {
        // A fetch under way would land afterwards.
        self.fetching.forget(&is_meant);
        let keys: Vec<Arc<Key>> = self.kept.iter().map(|(key, _)| key).filter(|key| is_meant(key)).collect();
        keys.iter().for_each(|key| self.kept.invalidate(&**key));
    }
}

pub(super) async fn relay(inner: &Arc<Inner>, question: RelayQuestion) -> Result<Relayed, AskError> {
    let (deadline, credential, caller) = (question.deadline, question.credential.id(), question.caller);
    let answer = tokio::time::timeout_at(deadline, answer(inner, question)).await;
    answer.unwrap_or_else(|_| Err(AskError::nothing_ready(&*inner.source, credential, caller)))
}

async fn answer(inner: &Arc<Inner>, question: RelayQuestion) -> Result<Relayed, AskError> {
    let now = inner.clock.now();
    let key: Key = (question.credential.id(), question.agent, question.canonical_query.as_str().into());
    let mut context = context(&question);
    let membership = if question.has_changing_filter { Membership::Spans } else { Membership::Fixed };
    let policy =
        inner.policy(membership, question.credential.id(), question.caller).wished(&question.directives);
    let standing = inner.access.known(key.0, key.1);
    if let Standing::Refused(error) = standing {
        return Err(error.into());
    }
    let kept = inner.relays.kept.get(&key);
    if let Some(kept) = &kept {
        let freshness = freshness(kept, &policy, now);
        let late = freshness.age.saturating_sub(freshness.lifetime);
        let allowed = question.directives.may_be_stale_for(inner.settings.stale_while_revalidate);
        let needed = freshness.age.saturating_add(question.directives.min_fresh.unwrap_or_default());
        let stays = needed <= freshness.lifetime;
        if stays || (!late.is_zero() && late <= allowed) {
            if matches!(standing, Standing::Unknown) {
                admitted(inner, &question, &context).await?;
            }
            if !stays
                && !question.directives.only_if_cached
                && let Some(place) = inner.background.place()
            {
                let context = RequestContext {
                    deadline: Some(Deadline::at(Instant::now() + background::LONGEST)),
                    ..context
                };
                let fetched = fetch(inner, &key, &question, context);
                place.run(async move {
                    // What can't be renewed is stale for longer; the next question tries again.
                    let _ended = fetched.await;
                });
            }
            return Ok(relayed(kept, freshness, (!stays).then_some(StaleReason::Revalidating)));
        }
    }
    if question.directives.only_if_cached {
        return Err(AskError::NotCached);
    }
    let may_be_stale = |kept: &Arc<Kept>| {
        let freshness = freshness(kept, &policy, now);
        freshness.age <= freshness.lifetime.saturating_add(inner.settings.stale_if_error)
    };
    if kept.as_ref().is_some_and(may_be_stale) {
        // An answer that may be stale waits for nothing.
        (context.retry_for, context.budget_wait) = (Duration::ZERO, Some(BUDGET_WAIT));
    }
    let lost = |_| {
        let detail = "the read broke off".to_owned();
        Err(SourceError::Unavailable { detail, retry_after: None, upstream: None })
    };
    let error = match fetch(inner, &key, &question, context.clone()).await.unwrap_or_else(lost) {
        Ok(fetched) => {
            inner.access.accepted(key.0, key.1);
            let freshness = Freshness { age: Duration::ZERO, ..freshness(&fetched, &policy, now) };
            return Ok(relayed(&fetched, freshness, None));
        }
        Err(error) => error,
    };
    match (&error, kept) {
        (SourceError::Denied(_) | SourceError::AgentNotFound(_), _) => {
            admitted(inner, &question, &context).await?;
            Err(error.into())
        }
        (SourceError::Refused(_), _) | (_, None) => Err(error.into()),
        (
            SourceError::RateLimited { .. }
            | SourceError::Unavailable { .. }
            | SourceError::TimedOut
            | SourceError::Malformed { .. },
            Some(kept),
        ) => {
            let freshness = freshness(&kept, &policy, now);
            if freshness.age > freshness.lifetime.saturating_add(inner.settings.stale_if_error) {
                return Err(error.into());
            }
            admitted(inner, &question, &context).await?;
            let reason = match error {
                SourceError::RateLimited { .. } => StaleReason::RateLimited,
                SourceError::Denied(_)
                | SourceError::AgentNotFound(_)
                | SourceError::Refused(_)
                | SourceError::Unavailable { .. }
                | SourceError::TimedOut
                | SourceError::Malformed { .. } => StaleReason::UpstreamFailed,
            };
            Ok(relayed(&kept, freshness, Some(reason)))
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

async fn admitted(inner: &Inner, question: &RelayQuestion, context: &RequestContext) -> Result<(), AskError> {
    match inner.access.check(&question.credential, question.agent, context).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let (credential, agent) = (question.credential.clone(), question.agent);
            drop_refused(inner, &Subject { credential, agent, filters: Filters::default() }, &error);
            Err(error.into())
        }
    }
}

fn relayed(kept: &Kept, freshness: Freshness, stale: Option<StaleReason>) -> Relayed {
    let rows = kept.page.as_ref().map_or(0, |page| page.rows.len() as u64);
    let mut report = CacheReport { stale, ..CacheReport::default() };
    if stale.is_some() {
        report.stale_rows = rows;
    } else if freshness.age.is_zero() {
        (report.miss_rows, report.upstream_requests) = (rows, 1);
    } else {
        report.hit_rows = rows;
    }
    Relayed { body: kept.body.clone(), freshness, report }
}

/// How old a page is, and how old it may get: as its least settled row, and as what may come onto it. An empty page may fill
/// any moment.
fn freshness(kept: &Kept, policy: &super::freshness::Policy, now: Timestamp) -> Freshness {
    let age = now.since(kept.read_at);
    let Some(page) = &kept.page else { return Freshness { age, lifetime: Duration::ZERO } };
    let rows = Entry::new(&place(page.clone(), None, Span::at(kept.read_at), kept.read_at));
    let lifetime = rows.rows().iter().map(|row| policy.row_ttl(row, now)).min().unwrap_or(policy.live);
    let by_reach = kept.to.map_or(policy.live, |to| policy.place_ttl(to, now));
    Freshness { age, lifetime: lifetime.min(by_reach) }
}

/// Fetches a page, together with whoever fetches the same already; keeps it, unless it may not be kept.
fn fetch(
    inner: &Arc<Inner>,
    key: &Key,
    question: &RelayQuestion,
    context: RequestContext,
) -> Listener<Fetched> {
    let joined_until = context.deadline.clone();
    let begin = |deadline| {
        let context = RequestContext { deadline, ..context };
        let (inner, question) = (Arc::clone(inner), question.clone());
        async move {
            let read_at = inner.clock.now();
            let late = inner.clock.upstream_now(&*inner.source).minus(inner.settings.commit_lag);
            let to = question.to.filter(|to| *to < late);
            let RelayQuestion { credential, agent, query, .. } = &question;
            let RelayedPage { body, page } = inner.source.relay(credential, *agent, query, &context).await?;
            Ok(Arc::new(Kept { body, page, read_at, to }))
        }
    };
    let (kept, may_be_kept) = (inner.relays.kept.clone(), !question.directives.no_store);
    let land_as = key.clone();
    let land = move |fetched: &Fetched| {
        if let Ok(fetched) = fetched
            && fetched.page.is_some()
            && may_be_kept
        {
            kept.insert(land_as, Arc::clone(fetched));
        }
    };
    inner.relays.fetching.join(key.clone(), joined_until.as_ref(), begin, land)
}
