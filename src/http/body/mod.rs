//! Response bodies: [`collected`] ones have a known length, [`streamed`] ones don't.

mod collected;
mod end_record;
mod streamed;

use serde::Serialize;

pub(super) use collected::{BodySection, WholeBody, envelope, page_envelope};
pub(super) use end_record::{MissingPart, StreamEnd, end_record, missing, section_line, sections_end_record};
pub(super) use streamed::{Event, SectionEvent, Streamed, events};

/// A JSON object without its closing brace, so that more members can follow. The value has only text, numbers
/// and booleans, so serialization can't fail.
pub(super) fn open_object(head: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(head).unwrap_or_default();
    text.pop();
    text
}

/// Adds a value as a line. The value has only text, numbers and booleans, so serialization can't fail.
pub(super) fn push_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    lines.extend(serde_json::to_vec(value).unwrap_or_default());
    lines.push(b'\n');
}
