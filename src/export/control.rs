use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a control line begins with; fanfold writes it without spaces.
const START: &[u8] = b"{\"@";

/// A line of the stream that is no row: an object with exactly one member, whose key begins with `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlLine {
    /// The rows of another agent follow.
    Agent(String),
    /// An execution that is no longer part of the result.
    Removed,
    /// The last line.
    End(Box<ReadVerdict>),
    /// An unknown one, which is skipped.
    Unknown,
}

/// The verdict on a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ReadVerdict {
    /// Whether the rows are all that were asked for.
    pub complete: bool,
    /// How many rows there were.
    pub count: u64,
    /// Every execution that was created up to then is among them.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Whether there are older rows than a limit allowed.
    #[serde(default)]
    pub has_more: bool,
    /// How many removals there were.
    #[serde(default)]
    pub removed: u64,
    /// Where the next response about changes continues.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Why there is no cursor.
    #[serde(default)]
    pub cursor_reason: Option<String>,
    /// Why it is not complete.
    #[serde(default)]
    pub error: Option<EndError>,
    /// The verdicts on several agents.
    #[serde(default)]
    pub agents: Vec<EndedAgent>,
}

/// The verdict on one of several agents.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct EndedAgent {
    /// The agent.
    pub agent_id: String,
    /// How many rows there were.
    #[serde(default)]
    pub count: u64,
    /// Up to when its rows are complete.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Whether there are older rows than a limit allowed.
    #[serde(default)]
    pub has_more: bool,
}

/// The members of a problem document that are shown to people.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct EndError {
    /// The kind.
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
    /// Reads a line; none if it is a row.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        // A row may begin with such a key too, but has more members.
        let (key, value) = if line.starts_with(START) { only_member(line)? } else { return None };
        match &*key {
            "@agent" => Some(agent(value).map_or(Self::Unknown, Self::Agent)),
            "@removed" => Some(Self::Removed),
            // A malformed one is no verdict.
            "@end" => {
                Some(serde_json::from_str(value.get()).map_or(Self::Unknown, |end| Self::End(Box::new(end))))
            }
            // A requested field, in a row that has none of the others.
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

/// The one member of an object; none if there are more, or fewer.
fn only_member(line: &[u8]) -> Option<(Cow<'_, str>, &RawValue)> {
    struct OnlyMember;

    impl<'de> Visitor<'de> for OnlyMember {
        type Value = (Cow<'de, str>, &'de RawValue);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with one member")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let key = map.next_key::<Cow<'de, str>>()?.ok_or_else(|| A::Error::custom("it has none"))?;
            let value = map.next_value()?;
            match map.next_key::<IgnoredAny>()? {
                None => Ok((key, value)),
                Some(_) => Err(A::Error::custom("it has more")),
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
    fn an_object_with_one_member_that_begins_with_the_mark_is_no_row() {
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
    fn a_verdict_is_read_and_one_that_cannot_be_is_none() {
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
