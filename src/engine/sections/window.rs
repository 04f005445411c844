//! The next sections of a response, requested a few at once and delivered in order.

use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll};

use std::future::poll_fn;

use futures_util::future::BoxFuture;

use crate::domain::AgentId;
use crate::engine::answer::Answer;
use crate::engine::terms::AskError;

/// The answer to a request, or its failure.
pub(super) type Outcome = Result<Answer, AskError>;

/// A section before its turn.
pub(super) struct Upcoming {
    pub(super) agent: AgentId,
    answer: Upstate,
}

enum Upstate {
    Opening(BoxFuture<'static, Outcome>),
    Opened(Outcome),
}

/// The sections that come next, in order.
#[derive(Default)]
pub(super) struct Window {
    upcoming: VecDeque<Upcoming>,
}

impl Window {
    /// Adds the next section.
    pub(super) fn push(&mut self, agent: AgentId, answer: BoxFuture<'static, Outcome>) {
        self.upcoming.push_back(Upcoming { agent, answer: Upstate::Opening(answer) });
    }

    /// The number of sections.
    pub(super) fn len(&self) -> usize {
        self.upcoming.len()
    }

    /// The number of sections without an answer yet.
    pub(super) fn opening(&self) -> usize {
        self.upcoming.iter().filter(|next| matches!(next.answer, Upstate::Opening(_))).count()
    }

    /// The answers that are ready, up to the first that is not.
    pub(super) fn opened(&self) -> impl Iterator<Item = (AgentId, &Outcome)> {
        self.upcoming.iter().map_while(|next| match &next.answer {
            Upstate::Opened(answer) => Some((next.agent, answer)),
            Upstate::Opening(_) => None,
        })
    }

    /// The answers that are ready.
    pub(super) fn answers(&mut self) -> impl Iterator<Item = &mut Answer> {
        self.upcoming.iter_mut().filter_map(|next| match &mut next.answer {
            Upstate::Opened(Ok(answer)) => Some(answer),
            Upstate::Opened(Err(_)) | Upstate::Opening(_) => None,
        })
    }

    /// Waits until this many answers from the front are ready, or all of them.
    pub(super) async fn until_opened(&mut self, count: usize) {
        poll_fn(|context| {
            self.poll(context);
            let are_there = self.opened().take(count).count() == count.min(self.len());
            if are_there { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Runs other work while the sections are requested.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.poll(context);
            work.as_mut().poll(context)
        })
        .await
    }

    /// Takes the first section, if its answer is ready.
    pub(super) fn pop(&mut self) -> Option<(AgentId, Outcome)> {
        match self.upcoming.pop_front()? {
            Upcoming { agent, answer: Upstate::Opened(answer) } => Some((agent, answer)),
            opening @ Upcoming { answer: Upstate::Opening(_), .. } => {
                self.upcoming.push_front(opening);
                None
            }
        }
    }

    /// Drops the first section and returns its agent.
    pub(super) fn give_up(&mut self) -> Option<AgentId> {
        self.upcoming.pop_front().map(|next| next.agent)
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        for next in &mut self.upcoming {
            if let Upstate::Opening(answer) = &mut next.answer
                && let Poll::Ready(answer) = answer.as_mut().poll(context)
            {
                next.answer = Upstate::Opened(answer);
            }
        }
    }
}
