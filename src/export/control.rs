use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The start of every control line, because fanfold writes them without spaces.
const START: &[u8] = b"{\"@";

/// A line that is not a row: an object with exactly one member, whose key begins with `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlLine {
    /// The rows of another agent follow.
    Agent(String),
    /// An execution has left the result.
    Removed,
    /// The end record, which is the last line.
    End(Box<ReadVerdict>),
    /// A line of an unknown kind, to be skipped.
    Unknown,
}

/// The end record of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ReadVerdict {
    /// Whether the stream has every requested row.
    pub complete: bool,
    /// The number of rows in the stream.
    pub count: u64,
    /// The stream has every execution created up to this instant.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Whether a limit left out older rows.
    #[serde(default)]
    pub has_more: bool,
    /// The number of removals in the stream.
    #[serde(default)]
    pub removed: u64,
    /// The cursor to request the next changes with.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Why there is no cursor.
    #[serde(default)]
    pub cursor_reason: Option<String>,
    /// Why the stream is not complete.
    #[serde(default)]
    pub error: Option<EndError>,
    /// The verdict on each agent, if there are several.
    #[serde(default)]
    pub agents: Vec<EndedAgent>,
}

/// The verdict on one of several agents.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct EndedAgent {
    /// The agent.
    pub agent_id: String,
    /// The number of its rows.
    #[serde(default)]
    pub count: u64,
    /// The stream has every execution of the agent created up to this instant.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Whether a limit left out older rows.
    #[serde(default)]
    pub has_more: bool,
}

/// The members of a problem document that the user sees.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct EndError {
    /// The stable error code.
    #[serde(default)]
    pub code: String,
    /// What is wrong.
    #[serde(default)]
    pub detail: String,
    /// The id of the request in the gateway's log.
    #[serde(default)]
    pub request_id: String,
}

impl ControlLine {
    /// Parses a line; `None` if it is a row.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        // A row can begin with such a key, too, but then has more members.
        let (key, value) = if line.starts_with(START) { only_member(line)? } else { return None };
        match &*key {
            "@agent" => Some(agent(value).map_or(Self::Unknown, Self::Agent)),
            "@removed" => Some(Self::Removed),
            // A malformed end record must not count as one.
            "@end" => {
                Some(serde_json::from_str(value.get()).map_or(Self::Unknown, |end| Self::End(Box::new(end))))
            }
            // A row in which `@agent_id` is the only requested field that exists.
            "@agent_id" => None,
            _ => Some(Self::Unknown),
        }
    }
}

fn agent(value: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct AgentLine {
        agent_id: String,
    }

    serde_json::from_str::<AgentLine>(value.get()).ok().map(|line| line.agent_id)
}

/// The only member of an object; `None` if it has more or fewer than one.
fn only_member(line: &[u8]) -> Option<(Cow<'_, str>, &RawValue)> {
    struct OnlyMember;

    impl<'de> Visitor<'de> for OnlyMember {
        type Value = (Cow<'de, str>, &'de RawValue);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with one member")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let key = map.next_key::<Cow<'de, str>>()?.ok_or_else(|| A::Error::custom("no member"))?;
            let value = map.next_value()?;
            match map.next_key::<IgnoredAny>()? {
                None => Ok((key, value)),
                Some(_) => Err(A::Error::custom("more than one member")),
            }
        }
    }

    let mut json = serde_json::Deserializer::from_slice(line);
    let member = json.deserialize_map(OnlyMember).ok()?;
    json.end().ok().map(|()| member)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<ControlLine> {
        ControlLine::read(line.as_bytes())
    }

    #[test]
    fn one_member_with_a_reserved_key_is_a_control_line() {
        let agent = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        assert_eq!(
            read(&format!("{{\"@agent\":{{\"agent_id\":\"{agent}\"}}}}")),
            Some(ControlLine::Agent(agent.to_owned()))
        );
        assert_eq!(read("{\"@removed\":{\"id\":\"a\"}}"), Some(ControlLine::Removed));
        assert_eq!(read("{\"@later\":1}"), Some(ControlLine::Unknown));
    }

    #[test]
    fn everything_else_is_a_row() {
        for line in [
            "{\"id\":\"a\"}",
            "{}",
            "{\"@end\":1,\"id\":\"a\"}",
            "{\"@agent_id\":\"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"}",
            "[\"@end\"]",
            "{\"@end\":{\"complete\":true,\"count\":1}",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn a_malformed_end_record_is_an_unknown_line() {
        let Some(ControlLine::End(end)) = read(
            "{\"@end\":{\"complete\":false,\"count\":7,\"as_of\":\"t\",\"new\":[],\
             \"error\":{\"code\":\"rate_limited\",\"detail\":\"no\",\"request_id\":\"r\",\"status\":429}}}",
        ) else {
            panic!("an end record")
        };
        assert_eq!((end.complete, end.count, end.has_more), (false, 7, false));
        assert_eq!(end.error.unwrap().code, "rate_limited");
        assert_eq!(read("{\"@end\":{\"complete\":\"yes\"}}"), Some(ControlLine::Unknown));
    }
}
