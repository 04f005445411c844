use bytes::Bytes;
use serde::Serialize;

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
    complete: bool,
    count: u64,
    as_of: String,
    /// Present only if there are older rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingPart>,
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
    complete: bool,
    count: u64,
    as_of: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingPart>,
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
    let end = EndFields {
        complete: verdict.is_complete() && matches!(ended, StreamEnd::Reached),
        count: verdict.count,
        has_more: verdict.has_more().then_some(true),
        as_of: verdict.as_of.to_string(),
        missing: missing(&verdict.missing, renderer),
        error: match ended {
            StreamEnd::Reached => None,
            StreamEnd::Broken(problem) => Some(problem.document(request_id)),
        },
        agents: None,
    };
    line(&EndLine { end })
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
        complete: is_whole && verdict.is_complete(),
        count: verdict.count,
        as_of: verdict.as_of.to_string(),
        has_more: verdict.has_more().then_some(true),
        missing: missing(&verdict.missing, renderer),
    };
    let given = sections.iter().map(|of| section(of, true));
    let agents = given.chain(under_way.iter().map(|of| section(of, false))).collect();
    let end = EndFields {
        complete: whole.is_complete() && matches!(ended, StreamEnd::Reached),
        count: whole.count,
        has_more: whole.has_more().then_some(true),
        as_of: whole.as_of.to_string(),
        missing: Vec::new(),
        error: match ended {
            StreamEnd::Reached => None,
            StreamEnd::Broken(problem) => Some(problem.document(request_id)),
        },
        agents: Some(agents),
    };
    line(&EndLine { end })
}

/// The line before a section, `{"@agent":{"agent_id":…}}`.
pub(crate) fn section_line(agent: AgentId) -> Bytes {
    format!("{{\"@agent\":{{\"agent_id\":\"{agent}\"}}}}\n").into()
}

fn line(value: &impl Serialize) -> Bytes {
    // Text and numbers only: serialization can't fail.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
