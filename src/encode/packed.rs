use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::part::{Close, Part, RowsPart, plain};
use crate::deflate::{Deflated, Effort, Separator, deflate, stored_len};

/// What is shorter is stored: its codes would take as much.
const STORED_BELOW: usize = 128;

/// A part of a body, ready for a gzip member.
#[derive(Clone, Debug)]
pub struct Packed(pub(super) Form);

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// To be stored as it is.
    Stored(Bytes),
    /// All rows of an entry, as they were deflated when they came.
    Entry { deflated: Arc<Deflated>, separator: Separator, close: Close },
    /// Deflated for this body alone.
    Own { blocks: Bytes, crc: u32, len: usize },
}

impl Packed {
    /// Packs a part. Costs nothing if it is all of an entry that was deflated; else what it takes to deflate it.
    ///
    /// # Errors
    /// Only if memory is damaged.
    pub fn new(part: &Part) -> io::Result<Self> {
        if let Part::Rows(rows) = part
            && let Some(deflated) = as_it_lies(rows)?
        {
            let RowsPart { separator, close, .. } = *rows;
            return Ok(Self(Form::Entry { deflated, separator, close }));
        }
        match plain(std::slice::from_ref(part))?.as_slice() {
            [] => Ok(Self(Form::Stored(Bytes::new()))),
            [only] if only.len() < STORED_BELOW => Ok(Self(Form::Stored(only.clone()))),
            chunks => own(chunks).map(Self),
        }
    }

    /// Whether packing a part costs nothing to speak of.
    pub(super) fn is_ready(part: &Part) -> bool {
        match part {
            Part::Text(text) => text.len() < STORED_BELOW,
            Part::Rows(rows) => may_lie(rows) && rows.slice.entry.deflated_already().is_some(),
        }
    }

    /// How many bytes it takes in a member.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Stored(bytes) => stored_len(bytes.len()),
            Form::Entry { deflated, close, .. } => {
                deflated.deflated_len()
                    + match close {
                        Close::Separated => stored_len(1),
                        Close::Open => 0,
                    }
            }
            Form::Own { blocks, .. } => blocks.len(),
        }
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn may_lie(rows: &RowsPart) -> bool {
    rows.slice.is_whole() && !rows.slice.entry.has_line_breaks()
}

fn as_it_lies(rows: &RowsPart) -> io::Result<Option<Arc<Deflated>>> {
    if !may_lie(rows) {
        return Ok(None);
    }
    let deflated = rows.slice.entry.deflated()?;
    Ok(deflated.is_sendable().then_some(deflated))
}

fn own(chunks: &[Bytes]) -> io::Result<Form> {
    let blocks = deflate(Effort::Arrival.level(), |deflating| {
        let mut out = Vec::new();
        chunks.iter().try_for_each(|chunk| deflating.push(chunk, &mut out))?;
        Ok(Bytes::from(out))
    })?;
    let mut crc = crc32fast::Hasher::new();
    chunks.iter().for_each(|chunk| crc.update(chunk));
    Ok(Form::Own { blocks, crc: crc.finalize(), len: chunks.iter().map(Bytes::len).sum() })
}
