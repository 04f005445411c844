use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use crate::deflate::Separator;
use crate::domain::EntrySlice;

/// Shorter runs of rows are copied into a chunk with their neighbors.
const COPY_BELOW: usize = 32 * 1024;

/// A part of a body before it becomes bytes.
#[derive(Clone, Debug)]
pub enum BodyPart {
    /// Bytes before or after the rows.
    Text(Bytes),
    /// Rows.
    Rows(RowsPart),
}

impl BodyPart {
    /// The number of plain bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows with a separator after each.
#[derive(Clone, Debug)]
pub struct RowsPart {
    pub(super) slice: EntrySlice,
    pub(super) separator: Separator,
    pub(super) close: Close,
}

/// Whether a separator follows the last row, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    Separated,
    Open,
}

impl RowsPart {
    /// The number of plain bytes.
    pub fn len(&self) -> usize {
        self.slice.byte_len() - self.dropped()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    /// The number of bytes of the last separator that are left out.
    pub(super) const fn dropped(&self) -> usize {
        match self.close {
            Close::Separated => 0,
            Close::Open => 1,
        }
    }

    /// Whether line breaks in rows have to be replaced.
    pub(super) fn is_broken(&self) -> bool {
        self.separator == Separator::Line && self.slice.entry.has_line_breaks()
    }

    /// Whether the entry has the plain bytes, so that nothing has to be inflated.
    pub(super) fn is_plain_at_hand(&self) -> bool {
        self.slice.entry.has_plain(self.separator)
    }
}

/// The plain bytes of some parts. Long runs of rows are slices of the cache; short ones are copied together.
///
/// # Errors
/// Only if memory is damaged.
pub(super) fn plain(parts: &[BodyPart]) -> io::Result<Vec<Bytes>> {
    let mut chunks = Chunks::default();
    for part in parts {
        match part {
            BodyPart::Text(text) => chunks.push(text.clone()),
            BodyPart::Rows(rows) => put_rows(rows, &mut chunks)?,
        }
    }
    Ok(chunks.finish())
}

fn put_rows(rows: &RowsPart, chunks: &mut Chunks) -> io::Result<()> {
    let RowsPart { slice, separator, .. } = rows;
    let bytes = slice.entry.plain(*separator)?;
    let last = slice.runs.len() - 1;
    for (number, run) in slice.runs.iter().enumerate() {
        let mut range = slice.entry.byte_range(run.clone());
        if number == last {
            range.end -= rows.dropped();
        }
        if rows.is_broken() {
            for position in run.clone() {
                put_line(&mut chunks.copied, &bytes[slice.entry.byte_range(position..position + 1)]);
            }
        } else {
            chunks.push(bytes.slice(range));
        }
    }
    Ok(())
}

/// Writes a row as one line. JSON strings have no raw line breaks (RFC 8259 section 7), so every line break is white space
/// between tokens and can become a space.
fn put_line(out: &mut BytesMut, row: &[u8]) {
    let row = &row[..row.len() - 1];
    out.extend(row.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.put_u8(b'\n');
}

#[derive(Default)]
struct Chunks {
    done: Vec<Bytes>,
    copied: BytesMut,
}

impl Chunks {
    fn push(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            self.copied.put_slice(&bytes);
        } else {
            self.close();
            self.done.push(bytes);
        }
    }

    fn close(&mut self) {
        if !self.copied.is_empty() {
            self.done.push(self.copied.split().freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }
}
