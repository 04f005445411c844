use crate::domain::{AgentFacts, Timestamp};
use crate::source::SourceError;

#[derive(Clone, Debug)]
pub(super) enum PairStanding {
    Accepted { at: Timestamp, facts: AgentFacts },
    Refused { at: Timestamp, error: SourceError },
}

/// What upstream said of a key as a whole.
///
/// A key that is wrong is so for every agent: without this, a storm of one bad key over many agents would use up the part
/// of the budget that new keys share.
#[derive(Clone, Debug)]
pub(super) enum KeyStanding {
    /// Accepted, for some agent or by `GET /user/me`.
    Good { at: Timestamp },
    /// Refused by `GET /user/me`.
    Refused { at: Timestamp, error: SourceError },
    /// Asked, and the answer said neither: then only what is refused for an agent is refused.
    Untold { at: Timestamp, accepted_at: Option<Timestamp> },
}
