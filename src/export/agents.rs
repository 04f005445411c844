use crate::domain::AgentId;

/// Whose executions are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedAgents {
    /// Those of one agent.
    One(AgentId),
    /// Those of several, in the order given.
    Several(Vec<AgentId>),
    /// Those of every agent that the credential reaches.
    All,
}

impl AskedAgents {
    /// Reads the values of `--agent`: UUIDs, with commas or in several values, or `all`.
    pub fn parse<S: AsRef<str>>(values: &[S]) -> Option<Self> {
        let words: Vec<&str> =
            values.iter().flat_map(|value| value.as_ref().split(',')).map(str::trim).collect();
        match words.as_slice() {
            [] => None,
            ["all"] => Some(Self::All),
            [one] => one.parse().ok().map(Self::One),
            _ => words.iter().map(|word| word.parse().ok()).collect::<Option<_>>().map(Self::Several),
        }
    }

    /// Whether the response has a section for each agent.
    pub const fn are_several(&self) -> bool {
        matches!(self, Self::Several(_) | Self::All)
    }

    /// How many there are, if that is known.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::One(_) => Some(1),
            Self::Several(agents) => Some(agents.len()),
            Self::All => None,
        }
    }

    /// The agent whose rows come before any is named; the nil one if each is named.
    pub(super) fn first(&self) -> AgentId {
        match self {
            Self::One(agent) => *agent,
            Self::Several(_) | Self::All => AgentId::new(uuid::Uuid::nil()),
        }
    }

    /// The segment of a request's path.
    pub(super) fn segment(&self) -> String {
        match self {
            Self::One(agent) => agent.to_string(),
            Self::Several(agents) => agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            Self::All => "all".to_owned(),
        }
    }
}
