//! Drops stored data everywhere: the data of refused credentials and of purged agents.

use std::sync::Arc;

use super::state::SharedState;
use crate::domain::{AgentId, CredentialId};
use crate::source::SourceError;
use crate::tier::{TierUnavailable, Voided};

/// Drops what was stored under a credential that upstream refused: of the agent, or everything if it refused
/// the key as a whole.
pub(super) fn drop_refused(
    state: &SharedState,
    credential: CredentialId,
    agent: AgentId,
    error: &SourceError,
) {
    match error {
        SourceError::Denied(_) if state.access.is_key_refused(credential) => {
            drop_refused_key(state, credential);
        }
        SourceError::Denied(_) | SourceError::AgentNotFound(_) => {
            drop_credential(state, credential, Some(agent));
        }
        SourceError::Refused(_)
        | SourceError::RateLimited { .. }
        | SourceError::Unavailable { .. }
        | SourceError::TimedOut
        | SourceError::Malformed { .. } => {}
    }
}

/// Drops everything that was stored under a credential, if upstream refused the key as a whole.
pub(super) fn drop_refused_key(state: &SharedState, credential: CredentialId) {
    if state.access.is_key_refused(credential) {
        state.access.lists.forget(credential);
        drop_credential(state, credential, None);
        if let Some(tier) = &state.parts.tier {
            let (tier, at) = (Arc::clone(tier), state.parts.clock.now());
            state.parts.shutdown.spawn(async move {
                // The tier logs a failure. Upstream refuses the key after a restart, too.
                let _ = tier.void(Voided::Credential(credential), at).await;
            });
        }
    }
}

/// Drops everything that is stored for an agent, under every credential. Unless this fails, its rows in the
/// tier are never served again once it returns.
pub(super) async fn forget(state: &SharedState, agent: AgentId) -> Result<(), TierUnavailable> {
    forget_here(state, agent);
    let Some(tier) = &state.parts.tier else { return Ok(()) };
    let marked = tier.void(Voided::Agent(agent), state.parts.clock.now()).await;
    // Rows that were restored meanwhile were loaded before the mark.
    forget_here(state, agent);
    marked
}

fn forget_here(state: &SharedState, agent: AgentId) {
    state.restores.forget();
    state.scopes.close(&*state.parts.store, |subject| subject.agent == agent);
    state.pages.forget(agent);
    state.changes.forget(Some(agent), None);
    state.access.forget(agent);
}

/// Drops the data that was read with a credential, of one agent or of all.
pub(super) fn drop_credential(state: &SharedState, credential: CredentialId, agent: Option<AgentId>) {
    state.restores.forget();
    state.scopes.close(&*state.parts.store, |subject| {
        subject.credential.id() == credential && agent.is_none_or(|agent| subject.agent == agent)
    });
    state.pages.drop_credential(credential, agent);
    state.changes.forget(agent, Some(credential));
}
