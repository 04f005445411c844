//! From a question to the beginning of its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::access::KnownAccess;
use super::answer::{AFTER_READING, Answer, AnswerContext, DeliveryTerms, ReadTerms, STREAM_DEADLINE};
use super::knowledge;
use super::reading::Prefetch;
use super::scope::{Picking, Present, Routed, View, known_present, quiet_for, route, tier_scope_of};
use super::state::SharedState;
use super::terms::{AskError, EngineSettings, Question, ResponseMode};
use crate::domain::{AgentFacts, Caller, Credential, Span, Timestamp};
use crate::source::{
    BudgetClock, Deadline, QuestionId, RequestContext, SentAt, SourceError, Subject, Trace, Urgency,
};

/// How long a page waits for the budget: clients that read pages give up after 10 to 30 s, and can do more with a
/// refusal that says when to come back than with silence.
const PAGE_BUDGET_WAIT: Duration = Duration::from_secs(8);

/// What all questions of one response share.
#[derive(Clone)]
pub(super) struct ResponseShare {
    question: QuestionId,
    pub(super) budget_clock: BudgetClock,
    /// The pages that may be in flight.
    in_flight: Arc<Semaphore>,
    heads: HeadAge,
}

/// How old the newest part of an answer may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadAge {
    /// As old as a row that may change any moment.
    Live,
    /// Older where nothing has happened for a while: see [`Policy::of_quiet`](super::freshness::Policy::of_quiet).
    Quiet,
}

/// By when the first rows of an answer must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstRows {
    /// By the deadline of its mode.
    AtDeadline,
    /// By this instant.
    By(Instant),
    /// Whoever waits for them sees to it.
    InTime,
}

impl ResponseShare {
    /// For a response to one question.
    fn of_one(settings: &EngineSettings) -> Self {
        Self::new(settings, HeadAge::Live)
    }

    /// For a response to questions about several agents.
    pub(super) fn of_several(settings: &EngineSettings) -> Self {
        Self::new(settings, HeadAge::Quiet)
    }

    fn new(settings: &EngineSettings, heads: HeadAge) -> Self {
        let (question, budget_clock) = (QuestionId::unique(), BudgetClock::default());
        Self { question, budget_clock, in_flight: Arc::new(Semaphore::new(settings.fan_out)), heads }
    }
}

impl FirstRows {
    pub(super) fn by(self, mode: ResponseMode) -> Instant {
        match (mode, self) {
            (
                ResponseMode::Collected { deadline }
                | ResponseMode::Condensed { deadline }
                | ResponseMode::Paged { deadline },
                _,
            ) => deadline,
            (ResponseMode::Streamed { .. }, Self::By(instant)) => instant,
            (ResponseMode::Streamed { row_wait }, Self::AtDeadline) => Instant::now() + row_wait,
            (ResponseMode::Streamed { .. }, Self::InTime) => Instant::now() + STREAM_DEADLINE,
        }
    }
}

/// The answer to a question that is a response of its own.
pub(super) async fn ask(state: &Arc<SharedState>, question: Question) -> Result<Answer, AskError> {
    let share = ResponseShare::of_one(&state.parts.settings);
    ask_within(state, question, &share, FirstRows::AtDeadline).await
}

/// The answer to a question of a response that may have others.
pub(super) async fn ask_within(
    state: &Arc<SharedState>,
    question: Question,
    share: &ResponseShare,
    first_rows: FirstRows,
) -> Result<Answer, AskError> {
    let parts = &*state.parts;
    let asked_at = parts.clock.now();
    let by = first_rows.by(question.mode);
    let context = context(&question, by, parts.settings.budget_patience, share);
    state.restores.restore(&question).await;
    let admitted = tokio::time::timeout_at(by, admitted(state, &question, &context)).await;
    let (facts, prefetch) = admitted.unwrap_or_else(|_| {
        Err(AskError::nothing_ready(&*parts.source, question.credential.id(), question.caller))
    })?;
    // Read once: what goes up to the present must end where the present is said to be.
    let now = parts.clock.now();
    let mut present = Present { to: parts.clock.upstream_now(&*parts.source), pinned_at: Some(now) };
    let prefetch = prefetch.filter(|prefetch| prefetch.is_timely(parts.source.clock_ahead_micros()));
    if let Some(prefetch) = &prefetch
        && question.to.is_none_or(|to| prefetch.to < to)
    {
        present = Present { to: prefetch.to, pinned_at: Some(parts.clock.at(prefetch.sent_at)) };
    }
    let Some(span) = span(&parts.settings, &question, facts, present.to)? else {
        return Ok(Answer::empty(question.to.map_or(present.to, |to| to.min(present.to))));
    };
    let begun = BegunQuestion {
        state,
        question: &question,
        share,
        span,
        present,
        asked_at,
        request: context,
        prefetch,
    };
    let nothing = || Ok(Answer::empty(span.from()));
    let Some(mut picked) = begun.context(Picking::Here) else { return nothing() };
    if let Some(due) = picked.due_elsewhere(question.newest)
        && state.restores.refresh(&picked.view.scope, due).await
    {
        let Some(refreshed) = begun.context(Picking::Here) else { return nothing() };
        picked = refreshed;
    }
    let picks = picked.view.picks();
    let mut answer = match Answer::begin(picked, question.newest).await {
        // What told which rows pass the filters was dropped in between.
        Err(AskError::Inconsistent { .. }) if picks => match begun.context(Picking::Upstream) {
            Some(context) => Answer::begin(context, question.newest).await?,
            None => return nothing(),
        },
        answer => answer?,
    };
    if matches!(question.mode, ResponseMode::Streamed { .. }) {
        answer.prime(by).await?;
    }
    Ok(answer)
}

/// A question whose credential is accepted.
struct BegunQuestion<'a> {
    state: &'a Arc<SharedState>,
    question: &'a Question,
    share: &'a ResponseShare,
    span: Span,
    present: Present,
    asked_at: Timestamp,
    request: RequestContext,
    prefetch: Option<Arc<Prefetch>>,
}

impl BegunQuestion<'_> {
    /// What its answer is made by; none if the present that it shares with others lies before it.
    fn context(&self, picking: Picking) -> Option<AnswerContext> {
        let (state, question, asked_at) = (self.state, self.question, self.asked_at);
        let parts = &*state.parts;
        let Routed { view, otherwise } = route(parts, &state.scopes, question, self.span, asked_at, picking);
        // Rows of one status are no part of what is known of all.
        let prefetch = self.prefetch.clone().filter(|prefetch| prefetch.is_of(&view.scope.key));
        let quiet_for = match self.share.heads {
            HeadAge::Quiet => quiet_for(&view.scope),
            HeadAge::Live => None,
        };
        let view = View { policy: view.policy.of_quiet(quiet_for.unwrap_or_default()), ..view };
        let present = known_present(&view.scope, &view.policy, asked_at).unwrap_or(self.present);
        let span = Span::new(self.span.from(), self.span.to().min(present.to))?;
        Some(AnswerContext {
            state: Arc::clone(state),
            view,
            otherwise,
            span,
            present,
            asked_to: question.to,
            request: self.request.clone(),
            reads: ReadTerms::new(prefetch, Arc::clone(&self.share.in_flight)),
            delivery: DeliveryTerms::of(question),
            directives: question.directives,
        })
    }
}

/// Whose turn it is for all that a question reads, whose first rows are of use until `by`.
pub(super) fn context(
    question: &Question,
    by: Instant,
    budget_patience: Duration,
    share: &ResponseShare,
) -> RequestContext {
    let now = Instant::now();
    let left = by.saturating_duration_since(now).saturating_sub(AFTER_READING);
    let (retry_for, budget_wait) = match question.mode {
        ResponseMode::Collected { .. } | ResponseMode::Condensed { .. } => (left, None),
        ResponseMode::Paged { .. } => (left, Some(PAGE_BUDGET_WAIT)),
        ResponseMode::Streamed { row_wait } => (row_wait, Some(budget_patience)),
    };
    RequestContext {
        caller: question.caller,
        question: share.question,
        urgency: Urgency::Refresh,
        deadline: Some(Deadline::at(now + left)),
        budget_wait,
        retry_for,
        trace: question.trace.clone(),
        sent: SentAt::default(),
        budget_clock: share.budget_clock.clone(),
    }
}

/// Makes sure that upstream accepts the credential for the agent.
///
/// What it has to ask for that, it asks together with the question's first page, if nothing is known yet.
async fn admitted(
    state: &SharedState,
    question: &Question,
    context: &RequestContext,
) -> Result<(AgentFacts, Option<Arc<Prefetch>>), AskError> {
    let credential = &question.credential;
    match state.access.known(credential.id(), question.agent) {
        KnownAccess::Accepted(facts) => Ok((facts, None)),
        KnownAccess::Refused(error) => Err(error.into()),
        KnownAccess::Unknown if question.directives.only_if_cached => Err(AskError::NotCached),
        KnownAccess::Unknown => {
            // A refusal for what was never accepted says nothing of what was kept for other agents.
            let was_accepted = state.access.was_accepted(credential.id(), question.agent);
            // Of an agent that may be made up as well, nothing is sent ahead: it costs one request then.
            let prefetch =
                if state.access.asks_in_vain(credential.id()) || is_read_elsewhere(state, question).await {
                    None
                } else {
                    state.prefetches.begin(&state.parts, &state.scopes, question, context)
                };
            match state.access.check(credential, question.agent, context).await {
                Ok(facts) => Ok((facts, prefetch)),
                Err(error) => {
                    if was_accepted || state.access.is_key_refused(credential.id()) {
                        knowledge::drop_refused(state, credential.id(), question.agent, &error);
                    }
                    Err(error.into())
                }
            }
        }
    }
}

/// Whether another process reads the newest rows of an unknown question at this moment, or has read them.
async fn is_read_elsewhere(state: &SharedState, question: &Question) -> bool {
    let parts = &*state.parts;
    let (Some(tier), Some(window)) = (parts.shared_tier(), parts.settings.window) else { return false };
    let now = parts.clock.upstream_now(&*parts.source);
    let to = question.to.map_or(now, |to| to.min(now));
    let Some(span) = Span::new(to.minus(window), to) else { return false };
    let subject = Subject {
        credential: question.credential.clone(),
        agent: question.agent,
        filters: question.filters.clone(),
    };
    let turn = tier.take_turn(&tier_scope_of(&subject), span, 0).await;
    !turn.is_mine || !turn.news.cells.is_empty()
}

/// Makes sure that upstream accepts a key as a whole, by then.
pub(super) async fn prove_key(
    state: &SharedState,
    caller: Caller,
    credential: &Credential,
    by: Instant,
    trace: Trace,
) -> Result<(), AskError> {
    let context = check_context(caller, Urgency::Refresh, Some(Deadline::at(by)), trace);
    let proven = tokio::time::timeout_at(by, state.access.prove_key(credential, &context)).await;
    proven.unwrap_or(Err(SourceError::TimedOut)).map_err(|error| {
        knowledge::drop_refused_key(state, credential.id());
        error.into()
    })
}

/// For a request without retries, apart from any question.
pub(super) fn check_context(
    caller: Caller,
    urgency: Urgency,
    deadline: Option<Deadline>,
    trace: Trace,
) -> RequestContext {
    RequestContext {
        caller,
        question: QuestionId::unique(),
        urgency,
        deadline,
        budget_wait: None,
        retry_for: Duration::ZERO,
        trace,
        sent: SentAt::default(),
        budget_clock: BudgetClock::default(),
    }
}

/// How far an agent's date may lie ahead of its first execution, because it was written in another zone than UTC. One
/// that lies further in the future says nothing.
const ZONES: Duration = Duration::from_hours(14);

/// Upstream has no executions from before 2020. A floor bounds how many windows a history has whatever an agent's date or a
/// question says.
pub(super) const EARLIEST: Timestamp = Timestamp::from_micros(1_577_836_800_000_000);

/// The span that is asked about; none if it lies in the future, or before the agent.
fn span(
    settings: &EngineSettings,
    question: &Question,
    facts: AgentFacts,
    now: Timestamp,
) -> Result<Option<Span>, AskError> {
    let born = facts.created_at.map(|at| at.minus(ZONES).floor_second()).filter(|born| *born <= now);
    let born = born.or(settings.history_start);
    let from = match (question.from, born) {
        (Some(from), Some(born)) => from.max(born),
        (Some(instant), None) | (None, Some(instant)) => instant,
        (None, None) => return Err(AskError::NoHistoryStart),
    };
    Ok(Span::new(from.max(EARLIEST), question.to.unwrap_or(now).min(now)))
}
