use bytes::Bytes;
use serde::Serialize;

use crate::engine::{Missing, Verdict};
use crate::http::problem::{ErrorRenderer, Problem};

/// How a body of lines ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamEnd<'a> {
    /// With its last row.
    Reached,
    /// Before it.
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
    /// Only said where there are older rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<MissingPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<P>,
}

/// A part that could not be had, as the client reads it.
#[derive(Serialize)]
pub(crate) struct MissingPart {
    from: String,
    to: String,
    code: &'static str,
    detail: String,
}

/// The parts that are missing, in the client's words.
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

/// The last line, `{"@end":…}`: what tells a whole body from one that only looks whole.
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
    };
    // Text and numbers only: serialization can't fail.
    let mut line = serde_json::to_vec(&EndLine { end }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
