use bytes::BufMut;

use super::decoder::{Decoder, length_of};
use crate::domain::Timestamp;
use crate::sealed::record::RecordName;

/// The bytes of a mark.
const MARK: usize = 24;

/// What was read before an instant is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoidMark {
    /// The name of the agent or credential that it is about.
    pub name: RecordName,
    /// The instant.
    pub at: Timestamp,
}

/// Encodes void marks.
pub fn encode_marks(marks: &[VoidMark]) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_of::<u32>() + MARK * marks.len());
    out.put_u32_le(length_of(marks.len()));
    for mark in marks {
        out.put_slice(mark.name.as_bytes());
        out.put_i64_le(mark.at.as_micros());
    }
    out
}

/// Decodes void marks; `None` if they are none.
pub fn decode_marks(record: &[u8]) -> Option<Vec<VoidMark>> {
    let mut record = Decoder::new(record);
    let mark = |record: &mut Decoder<'_>| {
        Some(VoidMark { name: RecordName::from_bytes(record.array()?), at: record.instant()? })
    };
    let marks = record.list(MARK, mark)?;
    record.end()?;
    Some(marks)
}
