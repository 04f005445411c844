//! Reads in the background of an answer that nobody waits for: what a stale answer left unread, and settled
//! rows that are due.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::context::{AnswerContext, AnswerStep};
use super::delivery::{DeliveryTerms, ReadTerms};
use crate::domain::Span;
use crate::engine::background;
use crate::engine::plan::Plan;
use crate::engine::reading::{Keep, Purpose, ReadAhead};
use crate::engine::scope::{Revalidation, Scope};
use crate::source::{Deadline, RequestContext, Urgency};

/// How long a renewal waits for room in the budget. After that, the next question tries again.
const RENEWAL_BUDGET_WAIT: Duration = Duration::from_secs(2);

impl AnswerContext {
    /// Reads in the background what a stale answer left unread, once for all callers who ask the same
    /// meanwhile.
    pub(super) fn revalidate(&self, plan: &Plan) {
        let task = Revalidation {
            number: self.request.question,
            span: plan.rest.and_then(|rest| self.span.after(rest.to())).unwrap_or(self.span),
            asked_at: self.view.asked_at,
            policy: self.view.policy,
            status: self.view.status.clone(),
        };
        let Some(place) = self.state.background.place() else { return };
        {
            let mut known = self.view.scope.lock();
            if known.revalidations.iter().any(|other| other.serves(&task)) {
                return;
            }
            known.revalidations.push(task);
        }
        let context = self.behind();
        let spans = plan.items.clone();
        let (probes, gaps) = (plan.probes.clone(), plan.gaps);
        place.run(async move {
            let _done = Revalidating(&context);
            if context.probe(&probes).await.is_ok() {
                let steps = context.steps(&spans, gaps, None);
                context.finish(steps).await;
            }
        });
    }

    /// Reads settled parts again in the background, from spare budget, for one caller at a time.
    pub(super) fn renew(&self, spans: &[Span]) {
        if spans.is_empty() || self.keep() == Keep::No || self.directives.only_if_cached {
            return;
        }
        let Some(place) = self.state.background.place() else { return };
        if std::mem::replace(&mut self.view.scope.lock().is_renewing, true) {
            return;
        }
        let mut context = self.behind();
        context.request.budget_wait = Some(RENEWAL_BUDGET_WAIT);
        let spans = spans.to_vec();
        place.run(async move {
            let _done = Renewing(&context.view.scope);
            for span in spans {
                let reading = context.reading(span, Purpose::Fill, Urgency::Renewal);
                let waiter = reading.join(span.to(), ReadAhead::Whole, None);
                context.view.scope.lock().readings.push(Arc::clone(&reading));
                context.state.reads.start(&context.view.scope, &reading);
                if waiter.over().await.is_err() {
                    return;
                }
            }
        });
    }

    /// The same question without a caller who waits.
    fn behind(&self) -> Self {
        let deadline = Deadline::at(Instant::now() + background::LONGEST);
        let request =
            RequestContext { retry_for: Duration::ZERO, deadline: Some(deadline), ..self.request.clone() };
        Self {
            state: Arc::clone(&self.state),
            view: self.view.clone(),
            otherwise: Vec::new(),
            reads: ReadTerms {
                joins_since: self.reads.joins_since,
                ..ReadTerms::new(None, Arc::new(Semaphore::new(self.state.parts.settings.fan_out)))
            },
            request,
            delivery: DeliveryTerms { read_ahead: ReadAhead::Whole, deadline: None, ..self.delivery },
            ..*self
        }
    }

    async fn finish(&self, steps: VecDeque<AnswerStep>) {
        for step in &steps {
            if let AnswerStep::Read(_, waiter, _) = step {
                self.state.reads.start(&self.view.scope, waiter.reading());
            }
        }
        for step in &steps {
            if let AnswerStep::Read(_, waiter, _) = step {
                // What can't be renewed is stale for longer; the next question sees to it.
                let _ended = waiter.over().await;
            }
        }
    }
}

/// Marks a stale answer as being updated. Dropping it lets another one be updated.
struct Revalidating<'a>(&'a AnswerContext);

impl Drop for Revalidating<'_> {
    fn drop(&mut self) {
        let number = self.0.request.question;
        self.0.view.scope.lock().revalidations.retain(|task| task.number != number);
    }
}

/// Marks a scope as being renewed. Dropping it lets another caller renew it.
struct Renewing<'a>(&'a Scope);

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_renewing = false;
    }
}
