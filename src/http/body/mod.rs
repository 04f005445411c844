//! The bodies of answers: [`collected`], whose length is known, and [`streamed`], whose end is not.

mod collected;
mod end_record;
mod streamed;

pub(super) use collected::{WholeBody, envelope, page_envelope};
pub(super) use end_record::{MissingPart, StreamEnd, end_record, missing};
pub(super) use streamed::{Event, Streamed, events};
