//! Which agents a path names: `{agents}` is one UUID, a list of them, or `all`.

use std::collections::BTreeSet;

use super::params::{invalid, nothing_here};
use super::problem::Problem;
use crate::domain::AgentId;

/// The maximum number of agents in a path. With more, the path would be too long for some proxies.
const MOST_NAMED: usize = 100;

/// The maximum number of agents of `all`, because each section has its own reads and verdict. A larger
/// account must be requested in parts.
pub(super) const MOST_LISTED: usize = 1_000;

/// The `{agents}` of a path. Whether the caller may ask about them is checked elsewhere.
///
/// It alone decides the shape of the response: sections for a comma or `all`, even if there is only one
/// agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AgentSelection {
    /// One UUID: the response is about this agent alone.
    One(AgentId),
    /// UUIDs with commas, each agent once, in ascending order: the order of the sections.
    Named(BTreeSet<AgentId>),
    /// `all`.
    All,
}

impl AgentSelection {
    /// Parses the segment of a path, without percent-encoding. A path with an empty segment does not exist.
    pub(super) fn parse(segment: Option<&str>) -> Result<Self, Problem> {
        match segment {
            Some("") => Err(nothing_here()),
            Some("all") => Ok(Self::All),
            Some(text) if text.contains(',') => {
                let agents: BTreeSet<AgentId> =
                    text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| refused())?;
                if agents.len() > MOST_NAMED { Err(refused()) } else { Ok(Self::Named(agents)) }
            }
            Some(text) => text.parse().map(Self::One).map_err(|_| refused()),
            None => Err(refused()),
        }
    }
}

fn refused() -> Problem {
    let detail = format!(
        "`agents` is not valid; accepted: 1 to {MOST_NAMED} UUIDs in their dashed form, separated by commas, or `all`"
    );
    invalid(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Code;

    const ONE: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    const TWO: &str = "0f9c6e1e-52b5-4c1c-9d0e-5a1f6f1d2b3c";

    fn parse(text: &str) -> AgentSelection {
        AgentSelection::parse(Some(text)).unwrap()
    }

    fn numbered(count: u128) -> String {
        let ids: Vec<_> = (0..count).map(|n| uuid::Uuid::from_u128(n).to_string()).collect();
        ids.join(",")
    }

    #[test]
    fn two_spellings_of_one_list_are_one_list() {
        let one = ONE.parse().unwrap();
        assert_eq!(parse(ONE), AgentSelection::One(one));
        assert_eq!(parse(&ONE.to_uppercase()), AgentSelection::One(one));
        let both = AgentSelection::Named([one, TWO.parse().unwrap()].into());
        for text in
            [format!("{ONE},{TWO}"), format!("{TWO},{ONE}"), format!("{TWO},{},{TWO}", ONE.to_uppercase())]
        {
            assert_eq!(parse(&text), both, "{text}");
        }
        assert_eq!(parse("all"), AgentSelection::All);
    }

    #[test]
    fn a_comma_makes_a_list_even_of_one_agent() {
        assert_eq!(parse(&format!("{ONE},{ONE}")), AgentSelection::Named([ONE.parse().unwrap()].into()));
    }

    #[test]
    fn a_hundred_agents_are_a_list_and_one_more_is_refused() {
        let AgentSelection::Named(agents) = parse(&numbered(100)) else { panic!() };
        assert_eq!(agents.len(), 100);
        assert_eq!(
            parse(&format!("{0},{0}", numbered(100))),
            AgentSelection::Named(agents),
            "counted once each"
        );
        assert_eq!(AgentSelection::parse(Some(&numbered(101))).unwrap_err().code, Code::InvalidRequest);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let mixed = format!("all,{ONE}");
        let (empty, last, blank) = (format!("{ONE},,{TWO}"), format!("{ONE},"), format!("{ONE}, {TWO}"));
        for text in ["ALL", "*", ",", &mixed, &empty, &last, &blank, "6f9619ff8b86d011b42d00cf4fc964ff"] {
            let problem = AgentSelection::parse(Some(text)).unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest, "{text}");
            assert!(problem.detail.contains("`agents`") && problem.detail.contains("accepted"), "{text}");
        }
        assert_eq!(AgentSelection::parse(Some("")).unwrap_err().code, Code::NotFound);
        assert_eq!(AgentSelection::parse(None).unwrap_err().code, Code::InvalidRequest);
    }
}
