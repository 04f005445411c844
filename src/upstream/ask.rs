use reqwest::Url;

use crate::domain::{AgentId, Credential};
use crate::source::RequestContext;

use super::mismatch::Author;

/// A request to upstream, and its caller.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) url: Url,
    /// The path with placeholders, for spans.
    pub(super) template: &'static str,
    pub(super) credential: &'a Credential,
    pub(super) about: About,
    pub(super) context: &'a RequestContext,
    /// Who wrote the query.
    pub(super) author: Author,
}

/// What a request is about, which is also what a refusal of its key concerns.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// One agent's data. A 401 or 403 says nothing about the key's other agents.
    Agent(AgentId),
    /// The list of the key's agents. A 401 or 403 says nothing about its other rights.
    Agents,
    /// The key as a whole.
    Key,
}

impl About {
    /// The agent that the gate and the spans count it for; the nil UUID if there is none.
    pub(super) fn agent(self) -> AgentId {
        match self {
            Self::Agent(agent) => agent,
            Self::Agents | Self::Key => AgentId::new(uuid::Uuid::nil()),
        }
    }
}
