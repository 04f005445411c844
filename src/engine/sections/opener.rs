//! What all sections of a response share.

use std::sync::Arc;

use super::merge::ListState;
use crate::domain::AgentId;
use crate::engine::ask::ResponseShare;
use crate::engine::state::SharedState;
use crate::engine::terms::{AskError, Question};

/// How many agents of one response are requested at once: as many as pages may be in flight by default, so
/// that a list of agents with one page each uses its fan-out.
pub(super) const AT_ONCE: usize = 8;

/// The agents of a response, in the order of its sections.
#[derive(Clone, Debug)]
pub struct SectionAgents {
    /// Ascending, each once.
    pub agents: Arc<[AgentId]>,
    /// The age of the list that named them; `None` if the caller named them.
    pub list: Option<ListState>,
}

/// Why a response over several agents fails: one of them does.
#[derive(Clone, Debug)]
pub struct SectionError {
    /// The agent.
    pub agent: AgentId,
    /// The reason.
    pub error: AskError,
}

/// Opens the answers of one response.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) state: Arc<SharedState>,
    pub(super) question: Arc<Question>,
    pub(super) agents: Arc<SectionAgents>,
    pub(super) share: ResponseShare,
}
