//! Which agents a response is about, and whether upstream accepts the key for them, in one request for many
//! agents.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use tokio::time::Instant;

use super::leniency::Leniency;
use super::merge::ListState;
use super::opener::{AT_ONCE, Opener, SectionAgents, SectionError};
use crate::domain::{AgentId, Caller, Credential};
use crate::engine::access::{CHECKS_AGAIN_FOR, KnownAccess};
use crate::engine::agent_lists::{AgentList, AgentLists};
use crate::engine::ask::{FirstRows, check_context, context};
use crate::engine::knowledge;
use crate::engine::state::SharedState;
use crate::engine::terms::{AskError, CacheDirectives, Freshness, StaleReason};
use crate::source::{Deadline, RequestContext, SourceError, Trace, Urgency};

/// Up to this many agents are checked one by one, together with the first page of each, which saves a round
/// trip. For more, the list of agents is read instead.
const FEW: usize = 4;

/// A request for the agents of a credential.
#[derive(Clone, Debug)]
pub struct ListQuestion {
    /// The caller, whose share of the budget is used.
    pub caller: Caller,
    /// The credential whose agents are listed.
    pub credential: Credential,
    /// The request's `Cache-Control`.
    pub directives: CacheDirectives,
    /// The deadline for the list.
    pub deadline: Instant,
    /// The caller's trace.
    pub trace: Trace,
}

impl SectionAgents {
    /// Agents that the caller named: ascending, each once.
    pub const fn named(agents: Arc<[AgentId]>) -> Self {
        Self { agents, list: None }
    }

    fn listed(list: &AgentList, freshness: Freshness, stale: Option<StaleReason>) -> Self {
        let agents = list.agents.keys().copied().collect();
        Self { agents, list: Some(ListState { freshness, stale }) }
    }
}

/// The agents that upstream lists for a credential, from a list that is at most a minute old. The list also
/// shows that upstream accepts the credential for each of them.
///
/// # Errors
/// The list can't be read. While upstream fails, a list that was read within `stale-if-error` is used.
pub(in crate::engine) async fn listed(
    state: &SharedState,
    question: &ListQuestion,
) -> Result<SectionAgents, AskError> {
    let (access, id) = (&state.access, question.credential.id());
    let longest = AgentLists::lifetime(question.directives.max_age);
    let given = |list: &AgentList, stale| {
        let freshness = Freshness { age: access.lists.age_of(list), lifetime: longest };
        access.accepted_by_list(id, list, list.agents.keys().copied());
        SectionAgents::listed(list, freshness, stale)
    };
    if let Some(list) = access.lists.kept(id, longest) {
        return Ok(given(&list, None));
    }
    if question.directives.only_if_cached {
        return Err(AskError::NotCached);
    }
    let (by, trace) = (Deadline::at(question.deadline), question.trace.clone());
    let context = check_context(question.caller, Urgency::Refresh, Some(by), trace);
    // A caller waits for it, as for a page.
    let retry_for = question.deadline.saturating_duration_since(Instant::now());
    let context = RequestContext { retry_for, ..context };
    let read =
        tokio::time::timeout_at(question.deadline, access.read_list(&question.credential, &context)).await;
    let read = read.unwrap_or(Err(SourceError::TimedOut));
    match read {
        Ok(list) => Ok(given(&list, None)),
        Err(error) => {
            if matches!(error, SourceError::Denied(_)) {
                knowledge::drop_refused_key(state, id);
            }
            let stale = match &error {
                SourceError::RateLimited { .. } => StaleReason::RateLimited,
                SourceError::Unavailable { .. } | SourceError::TimedOut => StaleReason::UpstreamFailed,
                SourceError::Denied(_)
                | SourceError::AgentNotFound(_)
                | SourceError::Refused(_)
                | SourceError::Malformed { .. } => return Err(error.into()),
            };
            let list = access.lists.kept(id, state.parts.settings.stale_if_error);
            list.map(|list| given(&list, Some(stale))).ok_or_else(|| error.into())
        }
    }
}

/// Checks that upstream still accepts the credential of a running response for its agents: many with one
/// list, the others one by one, all from spare budget.
///
/// # Errors
/// The first agent that is refused.
pub(in crate::engine) async fn check_again(
    state: &SharedState,
    caller: Caller,
    credential: &Credential,
    agents: &[AgentId],
    trace: Trace,
) -> Result<Duration, SectionError> {
    let (access, id) = (&state.access, credential.id());
    let by = Deadline::at(Instant::now() + CHECKS_AGAIN_FOR);
    let context = check_context(caller, Urgency::Renewal, Some(by), trace);
    let context = RequestContext { budget_wait: Some(CHECKS_AGAIN_FOR), ..context };
    let due =
        agents.iter().copied().filter(|agent| access.trusted_for(id, *agent).is_zero()).collect::<Vec<_>>();
    if due.len() > FEW
        && let Ok(list) = access.read_list(credential, &context).await
    {
        access.accepted_by_list(id, &list, due);
    }
    let mut trusted_for = Duration::MAX;
    for agent in agents {
        let checked = access.check_again(credential, *agent, &context).await.map_err(|error| {
            knowledge::drop_refused(state, id, *agent, &error);
            SectionError { agent: *agent, error: error.into() }
        });
        trusted_for = trusted_for.min(checked?);
    }
    Ok(trusted_for)
}

impl Opener {
    /// Checks with one request whether upstream accepts the key for the agents, if that is unknown for many.
    /// Agents that the list does not name are then checked one by one.
    ///
    /// # Errors
    /// The first agent that is refused, unless the question is lenient. Other failures are left to the
    /// sections.
    pub(super) async fn admit(&self) -> Result<(), SectionError> {
        let access = &self.state.access;
        let credential = &self.question.credential;
        let mut leniency = Leniency::of(self);
        for agent in self.agents.agents.iter() {
            if let KnownAccess::Refused(error) = access.known(credential.id(), *agent) {
                leniency.leave_out(*agent, &error.into())?;
            }
        }
        let unknown = || {
            let is_unknown =
                |agent: &&AgentId| matches!(access.known(credential.id(), **agent), KnownAccess::Unknown);
            self.agents.agents.iter().filter(is_unknown).copied().collect::<Vec<_>>()
        };
        let asked = unknown();
        if asked.len() <= FEW || self.question.directives.only_if_cached {
            return Ok(());
        }
        let context = self.context();
        let list = match access.lists.kept(credential.id(), AgentLists::lifetime(None)) {
            Some(list) => list,
            None => match access.read_list(credential, &context).await {
                Ok(list) => list,
                Err(_) => return Ok(()),
            },
        };
        access.accepted_by_list(credential.id(), &list, asked);
        let checks = iter(unknown()).map(|agent| {
            let context = context.clone();
            async move { (agent, access.check(credential, agent, &context).await) }
        });
        let mut checks = checks.buffered(AT_ONCE);
        while let Some((agent, checked)) = checks.next().await {
            if let Err(error @ (SourceError::Denied(_) | SourceError::AgentNotFound(_))) = checked {
                knowledge::drop_refused(&self.state, credential.id(), agent, &error);
                leniency.leave_out(agent, &error.into())?;
            }
        }
        Ok(())
    }

    fn context(&self) -> RequestContext {
        let by = FirstRows::AtDeadline.by(self.question.mode);
        context(&self.question, by, self.state.parts.settings.budget_patience, &self.share)
    }
}
