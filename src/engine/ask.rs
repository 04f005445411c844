//! From a question to the beginning of its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::access::Known as Standing;
use super::answer::{Answer, Frame, Present};
use super::freshness::{Membership, Policy};
use super::inner::Inner;
use super::opening::Opening;
use super::question::{Question, ResponseMode, Tolerance};
use super::reading::{Appetite, Dates, Keep};
use super::scope::Scope;
use super::{AskError, plan};
use crate::domain::{
    AgentFacts, AgentId, Caller, Credential, Filters, MAX_PAGE_SIZE, Span, Status, Statuses, Timestamp,
};
use crate::source::{
    BudgetClock, Deadline, QuestionId, RequestContext, SentAt, SourceError, Subject, Trace, Urgency,
};

/// Longer than any stream: its answer bounds how long each row may take, and the gate how long that waits for the budget.
pub(super) const STREAM_DEADLINE: Duration = Duration::from_hours(365 * 24);

/// An answer keeps some of its time for what comes after the last page, or the first of a stream.
pub(super) const AFTER_READING: Duration = Duration::from_millis(100);

pub(super) async fn ask(inner: &Arc<Inner>, question: Question) -> Result<Answer, AskError> {
    let asked_at = inner.clock.now();
    let by = match question.mode {
        ResponseMode::Collected { deadline } => deadline,
        ResponseMode::Streamed { row_wait } => Instant::now() + row_wait,
    };
    let context = context(&question, by, inner.settings.budget_patience);
    let admitted = tokio::time::timeout_at(by, admitted(inner, &question, &context)).await;
    let (facts, opening) = admitted.unwrap_or_else(|_| {
        Err(AskError::nothing_ready(&*inner.source, question.credential.id(), question.caller))
    })?;
    // Read once: what goes up to the present must end where the present is said to be.
    let now = inner.clock.now();
    let mut present = Present { to: inner.clock.upstream_now(&*inner.source), pinned_at: now };
    let opening = opening.filter(|opening| opening.is_timely(inner.source.clock_ahead_micros()));
    if let Some(opening) = &opening
        && question.to.is_none_or(|to| opening.to < to)
    {
        present = Present { to: opening.to, pinned_at: inner.clock.at(opening.sent_at) };
    }
    let Some(span) = span(inner, &question, facts, present.to)? else {
        return Ok(Answer::empty(question.to.map_or(present.to, |to| to.min(present.to))));
    };
    let (scope, membership) = scope(inner, &question, span, asked_at);
    // Rows of one status are no part of what is known of all.
    let opening = opening.filter(|opening| opening.is_of(&scope));
    let credential = question.credential.id();
    let policy = inner
        .policy(membership, credential, question.caller)
        .wished(&question.directives)
        .of_scope(scope.beat);
    let status = match &question.any_status {
        Some(statuses) => Some(statuses.clone()),
        None if membership == Membership::Rows => question.filters.status.clone().map(Statuses::from),
        None => None,
    };
    let present = known_present(&scope, &policy, asked_at).unwrap_or(present);
    let Some(span) = Span::new(span.from(), span.to().min(present.to)) else {
        return Ok(Answer::empty(span.from()));
    };
    let frame = Frame {
        inner: Arc::clone(inner),
        span,
        present,
        asked_to: question.to,
        scope,
        policy,
        status,
        asked_at,
        joins_since: Timestamp::MIN,
        context,
        keep: if question.directives.no_store { Keep::No } else { Keep::Yes },
        appetite: match question.mode {
            ResponseMode::Collected { .. } => Appetite::Whole,
            ResponseMode::Streamed { .. } => Appetite::Later,
        },
        opening,
        in_flight: Arc::new(Semaphore::new(inner.settings.fan_out)),
        tolerance: question.tolerance,
        directives: question.directives,
        deadline: match question.mode {
            ResponseMode::Collected { deadline } => Some(deadline),
            ResponseMode::Streamed { .. } => None,
        },
        row_wait: match question.mode {
            ResponseMode::Collected { .. } => None,
            ResponseMode::Streamed { row_wait } => Some(row_wait),
        },
    };
    let mut answer = Answer::begin(frame).await?;
    if matches!(question.mode, ResponseMode::Streamed { .. }) {
        answer.prime(by).await?;
    }
    Ok(answer)
}

/// Whose turn it is for all that a question reads, whose first rows are of use until `by`.
fn context(question: &Question, by: Instant, budget_patience: Duration) -> RequestContext {
    let now = Instant::now();
    let left = by.saturating_duration_since(now).saturating_sub(AFTER_READING);
    let (retry_for, budget_wait) = match question.mode {
        ResponseMode::Collected { .. } => (left, None),
        ResponseMode::Streamed { row_wait } => (row_wait, Some(budget_patience)),
    };
    RequestContext {
        caller: question.caller,
        question: QuestionId::unique(),
        urgency: Urgency::Refresh,
        deadline: Some(Deadline::at(now + left)),
        budget_wait,
        retry_for,
        trace: question.trace.clone(),
        sent: SentAt::default(),
        budget_clock: BudgetClock::default(),
    }
}

/// Makes sure that upstream accepts the credential for the agent.
///
/// What it has to ask for that, it asks together with the question's first page, if nothing is known yet.
async fn admitted(
    inner: &Arc<Inner>,
    question: &Question,
    context: &RequestContext,
) -> Result<(AgentFacts, Option<Arc<Opening>>), AskError> {
    let credential = &question.credential;
    match inner.access.known(credential.id(), question.agent) {
        Standing::Accepted(facts) => Ok((facts, None)),
        Standing::Refused(error) => Err(error.into()),
        Standing::Unknown if question.directives.only_if_cached => Err(AskError::NotCached),
        Standing::Unknown => {
            // A refusal for what was never accepted says nothing of what was kept for other agents.
            let was_accepted = inner.access.was_accepted(credential.id(), question.agent);
            let opening = inner.openings.begin(inner, question, context);
            match inner.access.check(credential, question.agent, context).await {
                Ok(facts) => Ok((facts, opening)),
                Err(error) => {
                    if was_accepted || inner.access.is_key_refused(credential.id()) {
                        refused(inner, question, &error);
                    }
                    Err(error.into())
                }
            }
        }
    }
}

/// Makes sure that upstream still accepts the credential of a running response.
pub(super) async fn check_again(
    inner: &Inner,
    caller: Caller,
    credential: &Credential,
    agent: AgentId,
    trace: Trace,
) -> Result<Duration, AskError> {
    let context = RequestContext {
        caller,
        question: QuestionId::unique(),
        urgency: Urgency::Renewal,
        deadline: None,
        budget_wait: None,
        retry_for: Duration::ZERO,
        trace,
        sent: SentAt::default(),
        budget_clock: BudgetClock::default(),
    };
    inner.access.check_again(credential, agent, &context).await.map_err(|error| {
        let filters = Filters::default();
        drop_refused(inner, &Subject { credential: credential.clone(), agent, filters }, &error);
        error.into()
    })
}

/// Drops what was kept under a credential that upstream refused: of the agent, or of all if it refused the key as a whole.
pub(super) fn refused(inner: &Inner, question: &Question, error: &SourceError) {
    drop_refused(
        inner,
        &Subject {
            credential: question.credential.clone(),
            agent: question.agent,
            filters: Filters::default(),
        },
        error,
    );
}

/// Drops what was kept under a credential that upstream refused: of the agent, or of all if it refused the key as a whole.
pub(super) fn drop_refused(inner: &Inner, subject: &Subject, error: &SourceError) {
    let credential = subject.credential.id();
    match error {
        SourceError::Denied(_) if inner.access.is_key_refused(credential) => {
            inner.drop_credential(credential, None);
        }
        SourceError::Denied(_) | SourceError::AgentNotFound(_) => {
            inner.drop_credential(credential, Some(subject.agent));
        }
        SourceError::Refused(_)
        | SourceError::RateLimited { .. }
        | SourceError::Unavailable { .. }
        | SourceError::TimedOut
        | SourceError::Malformed { .. } => {}
    }
}

/// How far an agent's date may lie ahead of its first execution, because it was written in another zone than UTC. One
/// that lies further in the future says nothing.
const ZONES: Duration = Duration::from_hours(14);

/// Upstream has no executions from before 2020. A floor bounds how many windows a history has whatever an agent's date or a
/// question says.
const EARLIEST: Timestamp = Timestamp::from_micros(1_577_836_800_000_000);

/// The span that is asked about; none if it lies in the future, or before the agent.
fn span(
    inner: &Inner,
    question: &Question,
    facts: AgentFacts,
    now: Timestamp,
) -> Result<Option<Span>, AskError> {
    let born = facts.created_at.map(|at| at.minus(ZONES).floor_second()).filter(|born| *born <= now);
    let born = born.or(inner.settings.history_start);
    let from = match (question.from, born) {
        (Some(from), Some(born)) => from.max(born),
        (Some(instant), None) | (None, Some(instant)) => instant,
        (None, None) => return Err(AskError::NoHistoryStart),
    };
    Ok(Span::new(from.max(EARLIEST), question.to.unwrap_or(now).min(now)))
}

/// Where the question is answered from, and whether rows enter and leave there.
///
/// A filter on the status is applied here, to what is known without it, where that costs no more requests than
/// reading under the filter does: then all statuses share one head.
fn scope(inner: &Inner, question: &Question, span: Span, now: Timestamp) -> (Arc<Scope>, Membership) {
    let subject =
        |filters| Subject { credential: question.credential.clone(), agent: question.agent, filters };
    let dates = if inner.settings.window.is_some() { Dates::Kept } else { Dates::Ignored };
    let scope_of = |subject: &Subject| match question.directives.only_if_cached {
        true => inner.scopes.of_unread(subject, dates, now),
        false => inner.scopes.of(subject, question.caller.id, &*inner.store, dates, now),
    };
    let own = subject(question.filters.clone());
    let can_change_elsewhere = question.filters.answered_by_voice_mail.is_some();
    if question.any_status.is_some() {
        let wide = subject(question.filters.without_status());
        let scope = scope_of(&wide);
        scope.touch_by_status(now);
        return (scope, if can_change_elsewhere { Membership::Spans } else { Membership::Rows });
    }
    if let Some(status) = question.filters.status.as_ref().filter(|_| !can_change_elsewhere) {
        let wide = subject(question.filters.without_status());
        if is_better_here(inner, &wide, status, span, now) {
            let scope = scope_of(&wide);
            scope.touch_by_status(now);
            return (scope, Membership::Rows);
        }
    }
    let membership = if own.filters.can_change() { Membership::Spans } else { Membership::Fixed };
    (scope_of(&own), membership)
}

/// The most rows that are read without the filter for the sake of sharing them.
const MAX_SHARED_ROWS: usize = 60 * MAX_PAGE_SIZE;

/// Whether a question about a status is better answered from what is known, or will be, without the filter.
///
/// What is known already decides by its cost. What is not is worth reading if others ask about the same executions
/// under other filters on the status, or under none, and there are not too many.
fn is_better_here(inner: &Inner, wide: &Subject, status: &Status, span: Span, now: Timestamp) -> bool {
    let policy = inner.plain_policy(Membership::Rows);
    let mut expected_rows = None;
    if let Some(scope) = inner.scopes.find(wide) {
        let known = scope.lock();
        let parts = known.look(span);
        if !parts.is_empty() && plan::is_cheaper_here(&parts, status, &policy, now) {
            return true;
        }
        expected_rows = plan::expected_rows(&parts, span);
    }
    let kin = inner.scopes.of_any_status(wide);
    let others_ask =
        kin.iter().any(|scope| scope.subject.filters.status.as_ref() != Some(status) && scope.is_asked(now));
    // Of a history that nobody read without the filter it is known that it holds at least those under filters.
    let known = || kin.iter().map(|scope| scope.known_rows(span)).sum::<usize>() * 2;
    others_ask && expected_rows.unwrap_or_else(known) <= MAX_SHARED_ROWS
}

/// Where the present is for a question that shares it with others: at the end of the latest reading that went up to it,
/// if that is fresh enough or under way, so that what comes with every question costs nothing between two readings.
fn known_present(scope: &Scope, policy: &Policy, now: Timestamp) -> Option<Present> {
    let known = scope.lock();
    let latest = known.head.map(|head| Present { to: head.to, pinned_at: head.read_at });
    let coming = known
        .readings
        .iter()
        .filter(|reading| reading.is_head && reading.is_open())
        .map(|reading| Present { to: reading.span.to(), pinned_at: reading.pinned_at });
    let is_fresh = |present: &Present| !policy.is_past(present.pinned_at, policy.live, now);
    latest.into_iter().chain(coming).filter(is_fresh).max_by_key(|present| present.to)
}

/// Whether a lenient answer may leave a part out.
pub(super) const fn is_lenient(tolerance: Tolerance) -> bool {
    matches!(tolerance, Tolerance::Lenient)
}

/// A question that only brings up to date what is known goes before one that reads history.
pub(super) const fn urgency(gaps: plan::Gaps) -> Urgency {
    match gaps {
        plan::Gaps::None | plan::Gaps::Head(_) => Urgency::Refresh,
        plan::Gaps::Some => Urgency::Cold,
    }
}
