use std::time::Duration;

use crate::domain::{AgentFacts, Timestamp};
use crate::source::SourceError;

/// How long a refusal is remembered. This stops a storm of requests with bad keys, and a key that was just
/// created works a moment later.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(3);

/// The longest time for which a key does not request an unknown agent again.
///
/// Longer than for a refusal: a new agent is not requested before it exists, and an agent id that a caller
/// made up costs one request a minute.
pub(super) const NOT_FOUND_FOR: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub(super) enum PairStanding {
    Accepted {
        at: Timestamp,
        facts: AgentFacts,
    },
    Refused {
        at: Timestamp,
        error: SourceError,
        /// When the pair was accepted last, if it ever was.
        accepted_at: Option<Timestamp>,
    },
}

impl PairStanding {
    /// When upstream accepted the pair last.
    pub(super) const fn accepted_at(&self) -> Option<Timestamp> {
        match self {
            Self::Accepted { at, .. } => Some(*at),
            Self::Refused { accepted_at, .. } => *accepted_at,
        }
    }
}

/// How long a refusal of a pair is repeated without asking. An agent that was there before is not made up: it
/// is asked about again after as long as it has been gone.
pub(super) fn remembered_for(error: &SourceError, at: Timestamp, accepted_at: Option<Timestamp>) -> Duration {
    match error {
        SourceError::AgentNotFound(_) => accepted_at
            .map_or(NOT_FOUND_FOR, |accepted_at| at.since(accepted_at).clamp(REFUSED_FOR, NOT_FOUND_FOR)),
        SourceError::Denied(_)
        | SourceError::Refused(_)
        | SourceError::RateLimited { .. }
        | SourceError::Unavailable { .. }
        | SourceError::TimedOut
        | SourceError::Malformed { .. } => REFUSED_FOR,
    }
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
    /// The response was inconclusive: the key is refused only for the agents that upstream refuses.
    Inconclusive { at: Timestamp, accepted_at: Option<Timestamp> },
}
