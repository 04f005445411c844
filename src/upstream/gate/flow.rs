use crate::domain::{AgentId, Caller, CallerId, PeerGroup};
use crate::source::{QuestionId, Urgency};

/// Whether upstream is known to accept a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyAcceptance {
    /// Upstream accepted it recently, or the gateway checked the caller itself.
    Accepted,
    /// Not yet. A flood of wrong keys must not use up the budget.
    Unproven,
}

/// Whose share is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ShareGroup {
    /// One caller's share.
    Caller(CallerId),
    /// The common share of all unproven keys.
    Unproven,
}

/// The members of a group that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Branch {
    /// A caller's agents.
    Agent(AgentId),
    /// The networks that unproven keys come from.
    Peer(PeerGroup),
    /// The unproven keys that got a few responses without being accepted, from any network.
    Tried,
}

/// What a request belongs to, from the widest to the narrowest level. Each level takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) group: ShareGroup,
    pub(super) urgency: Urgency,
    pub(super) branch: Branch,
    pub(super) question: QuestionId,
    pub(super) agent: AgentId,
}

impl ShareGroup {
    /// The group of a caller.
    pub(crate) const fn of(caller: Caller, standing: KeyAcceptance) -> Self {
        match standing {
            KeyAcceptance::Accepted => Self::Caller(caller.id),
            KeyAcceptance::Unproven => Self::Unproven,
        }
    }
}

impl Branch {
    pub(super) const fn of(group: ShareGroup, caller: Caller, agent: AgentId) -> Self {
        match group {
            ShareGroup::Caller(_) => Self::Agent(agent),
            ShareGroup::Unproven => Self::Peer(caller.peer),
        }
    }
}
