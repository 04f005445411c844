use crate::domain::{AgentId, Caller, CallerId, PeerGroup};
use crate::source::{QuestionId, Urgency};

/// Whether upstream is known to accept a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyAcceptance {
    /// It did, lately, or the gateway checked the caller itself.
    Accepted,
    /// Not yet: a storm of wrong keys must not use up everybody's budget.
    Unproven,
}

/// Whose share is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ShareGroup {
    /// One caller's.
    Caller(CallerId),
    /// The one that all unproven keys have together.
    Unproven,
}

/// What takes turns within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Branch {
    /// A caller's agents.
    Agent(AgentId),
    /// The networks that unproven keys come from.
    Peer(PeerGroup),
}

/// What a request belongs to, from the widest to the narrowest. Turns are taken on each level.
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
