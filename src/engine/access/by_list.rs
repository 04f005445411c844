//! Access that follows from the list of a key's agents.

use std::sync::Arc;

use super::{Access, KeyStanding, PairStanding, hasty};
use crate::domain::{AgentId, Credential, CredentialId};
use crate::engine::agent_lists::AgentList;
use crate::source::{RequestContext, SourceError};

impl Access {
    /// Reads the list of a credential's agents. The response also shows whether upstream accepts the key.
    ///
    /// # Errors
    /// Upstream's, without retries if an older list can be used.
    pub(in crate::engine) async fn read_list(
        &self,
        credential: &Credential,
        context: &RequestContext,
    ) -> Result<Arc<AgentList>, SourceError> {
        let id = credential.id();
        let has_older = self.lists.kept(id, self.stale_if_error).is_some();
        let context = if has_older { hasty(context) } else { context.clone() };
        let list = self.lists.read(credential, &context).await;
        match &list {
            Ok(list) => self.keys.insert(id, KeyStanding::Good { at: list.at }),
            Err(SourceError::Denied(_)) => self.check_key(credential, &context).await,
            Err(_) => {}
        }
        list
    }

    /// Counts upstream's list as its acceptance of the key for the listed agents. An agent whose age is given
    /// neither by the list nor by an earlier check still has to be requested.
    pub(in crate::engine) fn accepted_by_list(
        &self,
        credential: CredentialId,
        list: &AgentList,
        agents: impl IntoIterator<Item = AgentId>,
    ) {
        for agent in agents {
            let Some(listed) = list.agents.get(&agent) else { continue };
            let pair = (credential, agent);
            let before = self.standings.get(&pair);
            let facts = match before {
                Some(PairStanding::Accepted { at, .. } | PairStanding::Refused { at, .. })
                    if at >= list.at =>
                {
                    continue;
                }
                Some(PairStanding::Accepted { facts, .. }) if listed.created_at.is_none() => facts,
                Some(_) | None if listed.created_at.is_none() => continue,
                Some(_) | None => *listed,
            };
            self.standings.insert(pair, PairStanding::Accepted { at: list.at, facts });
        }
    }
}
