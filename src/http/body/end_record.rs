use bytes::Bytes;
use serde::Serialize;

use super::push_line;
use crate::domain::AgentId;
use crate::engine::{Missing, SectionVerdict, SectionsVerdict, Verdict};
use crate::http::problem::{ErrorRenderer, Problem};

/// How an NDJSON body ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamEnd<'a> {
    /// After the last row.
    Reached,
    /// Before the last row.
    Broken(&'a Problem),
}

#[derive(Serialize)]
struct EndLine<P: Serialize> {
    #[serde(rename = "@end")]
    end: EndFields<P>,
}

#[derive(Serialize)]
struct EndFields<P: Serialize> {
    #[serde(flatten)]
    outcome: OutcomeFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<P>,
    /// The sections that were begun, in a response with sections.
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<Vec<SectionEnd>>,
}

/// A section in the last line.
#[derive(Serialize)]
struct SectionEnd {
    agent_id: String,
    #[serde(flatten)]
    outcome: OutcomeFields,
}

/// How a response or one of its sections ended.
#[derive(Serialize)]
struct OutcomeFields {
    complete: bool,
    count: u64,
    as_of: String,
    /// Present only if there are older rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingPart>,
}

impl OutcomeFields {
    fn of(verdict: &Verdict, is_whole: bool, missing: Vec<MissingPart>) -> Self {
        Self {
            complete: is_whole && verdict.is_complete(),
            count: verdict.count,
            as_of: verdict.as_of.to_string(),
            has_more: verdict.has_more().then_some(true),
            missing,
        }
    }
}

/// A missing part, as the client sees it.
#[derive(Serialize)]
pub(crate) struct MissingPart {
    from: String,
    to: String,
    code: &'static str,
    detail: String,
}

/// The missing parts, as the client sees them.
pub(crate) fn missing(parts: &[Missing], renderer: ErrorRenderer) -> Vec<MissingPart> {
    parts
        .iter()
        .map(|part| {
            let problem = renderer.problem(&part.error);
            MissingPart {
                from: part.span.from().to_string(),
                to: part.span.to().to_string(),
                code: problem.code.as_str(),
                detail: problem.detail,
            }
        })
        .collect()
}

/// The last line, `{"@end":…}`, which distinguishes a complete body from a truncated one.
pub(crate) fn end_record(
    verdict: &Verdict,
    ended: StreamEnd<'_>,
    renderer: ErrorRenderer,
    request_id: &str,
) -> Bytes {
    end_line(verdict, ended, request_id, missing(&verdict.missing, renderer), None)
}

/// The last line of a response with sections. The missing parts are named in their sections.
pub(crate) fn sections_end_record(
    verdict: &SectionsVerdict,
    ended: StreamEnd<'_>,
    renderer: ErrorRenderer,
    request_id: &str,
) -> Bytes {
    let SectionsVerdict { whole, sections, under_way } = verdict;
    let section = |SectionVerdict { agent, verdict }: &SectionVerdict, is_whole: bool| SectionEnd {
        agent_id: agent.to_string(),
        outcome: OutcomeFields::of(verdict, is_whole, missing(&verdict.missing, renderer)),
    };
    let given = sections.iter().map(|of| section(of, true));
    let agents = given.chain(under_way.iter().map(|of| section(of, false))).collect();
    end_line(whole, ended, request_id, Vec::new(), Some(agents))
}

fn end_line(
    verdict: &Verdict,
    ended: StreamEnd<'_>,
    request_id: &str,
    missing: Vec<MissingPart>,
    agents: Option<Vec<SectionEnd>>,
) -> Bytes {
    let end = EndFields {
        outcome: OutcomeFields::of(verdict, matches!(ended, StreamEnd::Reached), missing),
        error: match ended {
            StreamEnd::Reached => None,
            StreamEnd::Broken(problem) => Some(problem.document(request_id)),
        },
        agents,
    };
    let mut line = Vec::new();
    push_line(&mut line, &EndLine { end });
    line.into()
}

/// The line before a section, `{"@agent":{"agent_id":…}}`.
pub(crate) fn section_line(agent: AgentId) -> Bytes {
    format!("{{\"@agent\":{{\"agent_id\":\"{agent}\"}}}}\n").into()
}
