use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use sha2::{Digest as _, Sha256};

use super::decoder::{Decoder, length_of};
use crate::deflate::{Deflated, DeflatedParts, Effort};
use crate::domain::{Entry, EntryIndex};

const HAS_LINE_BREAKS: u8 = 1;
const IS_SENDABLE: u8 = 2;

/// Encodes the bytes of an entry. Deflates them first if necessary.
///
/// # Errors
/// The entry has no bytes, or its rows were rewritten, so that the index has other lengths.
pub fn encode_rows(entry: &Entry) -> io::Result<Vec<u8>> {
    let deflated = entry.deflated()?;
    let index = entry.index();
    let mut rows = index.rows().iter().enumerate();
    if !rows.all(|(at, row)| entry.byte_range(at..at + 1).len() == row.byte_len() + 1) {
        return Err(io::Error::other("rewritten rows can't be kept"));
    }
    let parts = deflated.parts();
    let line_breaks = if entry.has_line_breaks() { HAS_LINE_BREAKS } else { 0 };
    let sendable = if deflated.is_sendable() { IS_SENDABLE } else { 0 };
    let seams = parts.seams.as_deref().unwrap_or_default();
    let mut out = Vec::with_capacity(64 + size_of_val(seams) + parts.blocks.len());
    out.put_slice(&fingerprint(index));
    out.put_u8(line_breaks | sendable);
    out.put_u8(match parts.effort {
        Effort::Arrival => 1,
        Effort::Idle => 2,
    });
    out.put_u32_le(parts.lines_crc);
    out.put_u32_le(parts.commas_crc);
    out.put_u64_le(parts.len as u64);
    out.put_u32_le(length_of(seams.len()));
    seams.iter().for_each(|&seam| out.put_u32_le(seam));
    out.put_slice(&parts.blocks);
    Ok(out)
}

/// Decodes the bytes of the entry with this index; `None` if the record is not valid, or another entry's.
pub fn decode_rows(record: &[u8], index: &Arc<EntryIndex>) -> Option<Entry> {
    let mut record = Decoder::new(record);
    if record.array()? != fingerprint(index) {
        return None;
    }
    let flags = record.u8()?;
    if flags & !(HAS_LINE_BREAKS | IS_SENDABLE) != 0 {
        return None;
    }
    let effort = match record.u8()? {
        1 => Effort::Arrival,
        2 => Effort::Idle,
        _ => return None,
    };
    let (lines_crc, commas_crc) = (record.u32()?, record.u32()?);
    let len = usize::try_from(record.u64()?).ok()?;
    let seams = record.list(size_of::<u32>(), Decoder::u32)?;
    let seams = match flags & IS_SENDABLE {
        0 if seams.is_empty() => None,
        0 => return None,
        _ => Some(seams.into()),
    };
    // Copied, so that the rest of the record does not stay in memory with them.
    let blocks = Bytes::copy_from_slice(record.rest());
    let parts = DeflatedParts { blocks, seams, lines_crc, commas_crc, len, effort };
    let deflated = Deflated::from_parts(parts, index.len())?;
    Entry::from_parts(Arc::clone(index), deflated, flags & HAS_LINE_BREAKS != 0)
}

/// Identifies the bytes of an index by the digests and lengths of its rows, which do not change when the index is updated.
fn fingerprint(index: &EntryIndex) -> [u8; 16] {
    let mut hash = Sha256::new();
    for row in index.rows().iter() {
        hash.update(row.digest.0.to_le_bytes());
        hash.update(length_of(row.byte_len()).to_le_bytes());
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}
