use std::collections::HashMap;

use bytes::BufMut;

use super::decoder::{Decoder, length_of};
use crate::domain::Timestamp;
use crate::sealed::record::RecordName;

/// The size of a mark.
const MARK: usize = 24;

/// Encodes void marks: the name of an agent or credential, and the instant until which reads of it are void.
pub fn encode_marks(marks: &HashMap<RecordName, Timestamp>) -> Vec<u8> {
    let mut out = Vec::with_capacity(size_of::<u32>() + MARK * marks.len());
    out.put_u32_le(length_of(marks.len()));
    for (name, at) in marks {
        out.put_slice(name.as_bytes());
        out.put_i64_le(at.as_micros());
    }
    out
}

/// Decodes void marks; `None` if the record is not valid.
pub fn decode_marks(record: &[u8]) -> Option<HashMap<RecordName, Timestamp>> {
    let mut record = Decoder::new(record);
    let marks =
        record.list(MARK, |record| Some((RecordName::from_bytes(record.array()?), record.instant()?)))?;
    record.end()?;
    Some(marks.into_iter().collect())
}
