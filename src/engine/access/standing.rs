use crate::domain::{AgentFacts, Timestamp};
use crate::source::SourceError;

#[derive(Clone, Debug)]
pub(super) enum PairStanding {
    Accepted { at: Timestamp, facts: AgentFacts },
    Refused { at: Timestamp, error: SourceError },
}

/// What upstream said about a key as a whole.
///
/// A wrong key is wrong for every agent. Without this state, a storm of one bad key over many agents would
/// use up the part of the budget that new keys share.
#[derive(Clone, Debug)]
pub(super) enum KeyStanding {
    /// Accepted, for some agent or by `GET /user/me`.
    Good { at: Timestamp },
    /// Refused by `GET /user/me`.
    Refused { at: Timestamp, error: SourceError },
    /// Asked without a clear result: then only what is refused for an agent is refused.
    Untold { at: Timestamp, accepted_at: Option<Timestamp> },
}
