//! Asks upstream once more before most rows of an agent are reported as removed.
//!
//! Otherwise, a list that was empty or short only once would make every client that follows it delete its
//! rows. One page decides: it is requested where the newest of the missing rows were. If it has any of them,
//! the rows that were read there are dropped, and the response fails.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::changes::Vanished;
use super::state::SharedState;
use super::terms::{AskError, Question};
use crate::domain::{Filters, MAX_PAGE_SIZE, PageOf, Row, RowId, Span};
use crate::source::{
    BudgetClock, Deadline, QuestionId, RequestContext, SentAt, SourceError, Subject, Urgency,
};

/// The maximum time for this, including waits for the budget.
const LONGEST: Duration = Duration::from_secs(30);

pub(super) async fn confirm_gone(
    state: &SharedState,
    question: &Question,
    vanished: &Vanished,
) -> Result<(), AskError> {
    let Some(span) = newest_span(vanished, state.parts.settings.span_width()) else { return Ok(()) };
    let by = Instant::now() + LONGEST;
    let context = RequestContext {
        caller: question.caller,
        question: QuestionId::unique(),
        urgency: Urgency::Refresh,
        deadline: Some(Deadline::at(by)),
        budget_wait: None,
        retry_for: LONGEST,
        trace: question.trace.clone(),
        sent: SentAt::default(),
        budget_clock: BudgetClock::default(),
    };
    let subject = Subject {
        credential: question.credential.clone(),
        agent: vanished.agent,
        filters: question.filters.clone(),
    };
    let page = PageOf { span: span.outward(), number: 1, size: MAX_PAGE_SIZE as u32 };
    let page = tokio::time::timeout_at(by, state.parts.source.page(&subject, page, &context)).await;
    let page = match page.unwrap_or(Err(SourceError::TimedOut)) {
        // Upstream's response for an agent that it no longer lists.
        Err(SourceError::AgentNotFound(_) | SourceError::Denied(_)) if !vanished.is_listed => return Ok(()),
        page => page?,
    };
    let gone: HashSet<&RowId> = vanished.rows.iter().map(|(id, _)| id).collect();
    let is_there = |row: &Row| {
        let is_wanted = question.any_status.as_ref().is_none_or(|any| any.has(row.status.as_ref()));
        is_wanted && gone.contains(&row.id)
    };
    if !page.rows.iter().any(is_there) {
        return Ok(());
    }
    let span = vanished.rows.iter().map(|(_, at)| Span::at(*at)).reduce(Span::union).unwrap_or(span);
    // Rows may be selected here from data with fewer filters.
    for filters in [question.filters.clone(), question.filters.without_status(), Filters::default()] {
        unlearn(state, &Subject { filters, ..subject.clone() }, span);
    }
    let detail = format!("{} rows were missing that are there", vanished.rows.len());
    Err(AskError::Inconsistent { span, detail })
}

fn unlearn(state: &SharedState, subject: &Subject, span: Span) {
    if let Some(scope) = state.scopes.find(subject) {
        scope.unlearn_span(&*state.parts.store, span);
    }
}

/// Where the newest of these rows were: about a page of them, at most as wide as one request allows.
fn newest_span(vanished: &Vanished, window: Duration) -> Option<Span> {
    let mut instants: Vec<_> = vanished.rows.iter().map(|(_, at)| *at).collect();
    instants.sort_unstable_by(|a, b| b.cmp(a));
    let newest = instants.first().copied()?;
    let oldest = instants
        .into_iter()
        .take(MAX_PAGE_SIZE)
        .rfind(|at| Span::new(*at, newest).is_some_and(|span| span.outward().width() <= window))?;
    Span::new(oldest, newest)
}
