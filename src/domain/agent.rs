use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The identifier of one of upstream's agents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Uuid);

impl AgentId {
    /// The agent with this identifier.
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// The text is not a UUID in its dashed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAgentId;

/// Parses the dashed form, in upper or lower case. Other forms name no agent.
impl FromStr for AgentId {
    type Err = NotAnAgentId;

    fn from_str(text: &str) -> Result<Self, NotAnAgentId> {
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 => Ok(Self(id)),
            _ => Err(NotAnAgentId),
        }
    }
}

/// The dashed form in lowercase.
impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
