//! Response bodies: [`collected`] ones have a known length, [`streamed`] ones don't.

mod collected;
mod end_record;
mod streamed;

pub(super) use collected::{BodySection, WholeBody, envelope, page_envelope};
pub(super) use end_record::{MissingPart, StreamEnd, end_record, missing, section_line, sections_end_record};
pub(super) use streamed::{Event, SectionEvent, Streamed, events};
