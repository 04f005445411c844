//! The agents that upstream lists for each credential. Concurrent readers share one request, and a list is
//! stored for less than a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::single_flight::SingleFlight;
use super::terms::Clock;
use crate::domain::{AgentFacts, AgentId, Credential, CredentialId, Timestamp};
use crate::shutdown::Shutdown;
use crate::source::{RequestContext, Source, SourceError, Urgency};

/// How old a list may get. Upstream's acceptance of the key, which follows from it, is valid for a minute;
/// the rest of the minute is left to the requests that use it.
const LISTED_FOR: Duration = Duration::from_secs(50);

/// The maximum number of agents in all stored lists together.
const MAX_LISTED: u64 = 65_536;

/// A list as it was read.
#[derive(Clone, Debug)]
pub(super) struct AgentList {
    /// When it was requested, by our clock.
    pub(super) at: Timestamp,
    pub(super) agents: BTreeMap<AgentId, AgentFacts>,
}

type ListOutcome = Result<Arc<AgentList>, SourceError>;

pub(super) struct AgentLists {
    source: Arc<dyn Source>,
    clock: Clock,
    kept: moka::sync::Cache<CredentialId, Arc<AgentList>>,
    reads: SingleFlight<(CredentialId, Urgency), ListOutcome>,
}

impl AgentLists {
    pub(super) fn new(source: Arc<dyn Source>, clock: Clock, shutdown: Shutdown) -> Self {
        let weigh = |_: &CredentialId, list: &Arc<AgentList>| {
            u32::try_from(list.agents.len()).unwrap_or(u32::MAX).saturating_add(1)
        };
        let kept = moka::sync::Cache::builder().max_capacity(MAX_LISTED).weigher(weigh).build();
        Self { source, clock, kept, reads: SingleFlight::new(shutdown) }
    }

    /// How old a list may get for a request with this limit.
    pub(super) fn lifetime(max_age: Option<Duration>) -> Duration {
        max_age.map_or(LISTED_FOR, |max_age| max_age.min(LISTED_FOR))
    }

    pub(super) fn age_of(&self, list: &AgentList) -> Duration {
        self.clock.now().since(list.at)
    }

    /// The stored list, if it is not older than `max_age`.
    pub(super) fn kept(&self, credential: CredentialId, max_age: Duration) -> Option<Arc<AgentList>> {
        self.kept.get(&credential).filter(|list| self.age_of(list) <= max_age)
    }

    /// Reads the list; concurrent readers share one request.
    pub(super) async fn read(&self, credential: &Credential, context: &RequestContext) -> ListOutcome {
        let (source, clock, kept) = (Arc::clone(&self.source), self.clock.clone(), self.kept.clone());
        let (id, credential, own) = (credential.id(), credential.clone(), context.clone());
        let ask = |deadline| async move {
            let context = RequestContext { deadline, ..own };
            // The wait for its turn does not count toward the list's age.
            let agents = source.agents(&credential, &context).await?;
            let at = context.sent.sent_at().map_or_else(|| clock.now(), |sent| clock.at(sent));
            Ok(Arc::new(AgentList { at, agents: agents.into_iter().collect() }))
        };
        let land = move |outcome: &ListOutcome| {
            if let Ok(list) = outcome {
                kept.insert(id, Arc::clone(list));
            }
        };
        let read = self.reads.join((id, context.urgency), context.deadline.as_ref(), ask, land).await;
        match read {
            Ok(Err(SourceError::AgentNotFound(_))) => {
                Err(SourceError::Malformed { detail: "there is no list of agents".to_owned() })
            }
            Ok(outcome) => outcome,
            Err(_) => {
                let detail = "the read of the list of agents broke off".to_owned();
                Err(SourceError::Unavailable { detail, retry_after: None, upstream: None })
            }
        }
    }

    /// Drops what is stored for a credential.
    pub(super) fn forget(&self, credential: CredentialId) {
        self.reads.forget(|(of, _)| *of == credential);
        self.kept.invalidate(&credential);
    }

    /// Drops the stored list of a credential if it names an agent that is gone, and was read before the agent
    /// was last seen. A list that was read later would name the agent again, and reading it for each response
    /// would cost a request.
    pub(super) fn outdated_by(
        &self,
        (credential, gone): (CredentialId, AgentId),
        seen_at: Option<Timestamp>,
    ) {
        let is_outdated = |list: &AgentList| {
            list.agents.contains_key(&gone) && seen_at.is_some_and(|seen_at| list.at < seen_at)
        };
        if self.kept.get(&credential).is_some_and(|list| is_outdated(&list)) {
            self.forget(credential);
        }
    }

    /// Drops everything.
    pub(super) fn forget_all(&self) {
        self.reads.forget(|_| true);
        self.kept.invalidate_all();
    }
}
