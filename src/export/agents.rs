use crate::domain::AgentId;

/// The agents whose executions are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedAgents {
    /// One agent.
    One(AgentId),
    /// Several, in the order given.
    Several(Vec<AgentId>),
    /// Every agent that the credential can read.
    All,
}

impl AskedAgents {
    /// Parses the values of `--agent`: UUIDs, separated by commas or one per value, or `all`.
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

    /// The number of agents, if it is known.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::One(_) => Some(1),
            Self::Several(agents) => Some(agents.len()),
            Self::All => None,
        }
    }

    /// The agent of the rows before the first agent line; nil if there is a line for each agent.
    pub(super) fn first(&self) -> AgentId {
        match self {
            Self::One(agent) => *agent,
            Self::Several(_) | Self::All => AgentId::new(uuid::Uuid::nil()),
        }
    }

    /// The agents as a segment of a request path.
    pub(super) fn segment(&self) -> String {
        match self {
            Self::One(agent) => agent.to_string(),
            Self::Several(agents) => agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            Self::All => "all".to_owned(),
        }
    }
}
