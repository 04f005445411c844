use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::part::{BodyPart, Close, RowsPart, plain};
use crate::deflate::{Deflated, Effort, Separator, Shift, deflate, stored_len};
use crate::domain::Entry;

/// Shorter parts are stored, because setting up an encoder takes longer than sending so few bytes.
const STORED_BELOW: usize = 1024;

/// A part of a body in the form of a gzip member.
#[derive(Clone, Debug)]
pub struct Packed(pub(super) Form);

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// Plain bytes for stored blocks.
    Stored(Bytes),
    /// Rows whose deflated form is kept.
    Rows { rows: DeflatedSource, separator: Separator, close: Close },
    /// Deflated for this body only.
    Own { blocks: Bytes, crc: u32, shift: Shift, len: usize },
}

/// The source of deflated rows.
#[derive(Clone, Debug)]
pub(super) enum DeflatedSource {
    /// All rows of an entry.
    Whole(Arc<Entry>, Arc<Deflated>),
    /// Some rows of an entry, deflated separately.
    Piece(Arc<Deflated>),
}

impl DeflatedSource {
    pub(super) fn deflated(&self) -> &Deflated {
        match self {
            Self::Whole(_, deflated) | Self::Piece(deflated) => deflated,
        }
    }

    /// The blocks, with this separator after each row.
    pub(super) fn blocks(&self, separator: Separator) -> Bytes {
        match self {
            Self::Whole(entry, deflated) => entry.blocks(deflated, separator),
            Self::Piece(deflated) => deflated.blocks(separator),
        }
    }
}

impl Packed {
    /// Packs a part. Costs nothing for an entry or a piece of one whose deflated form is kept; anything else is deflated now.
    ///
    /// # Errors
    /// Only if memory is damaged.
    pub fn new(part: &BodyPart) -> io::Result<Self> {
        if let BodyPart::Rows(rows) = part
            && let Some(kept) = kept(rows)?
        {
            let RowsPart { separator, close, .. } = *rows;
            return Ok(Self(Form::Rows { rows: kept, separator, close }));
        }
        match plain(std::slice::from_ref(part))?.as_slice() {
            [] => Ok(Self(Form::Stored(Bytes::new()))),
            [only] if only.len() < STORED_BELOW => Ok(Self(Form::Stored(only.clone()))),
            chunks => own(chunks).map(Self),
        }
    }

    /// Whether packing a part costs almost nothing.
    pub(super) fn is_ready(part: &BodyPart) -> bool {
        match part {
            BodyPart::Text(text) => text.len() < STORED_BELOW,
            BodyPart::Rows(RowsPart { slice, .. }) if slice.entry.has_line_breaks() => false,
            BodyPart::Rows(RowsPart { slice, .. }) if slice.is_whole() => {
                slice.entry.deflated_already().is_some()
            }
            BodyPart::Rows(RowsPart { slice, .. }) => slice.entry.has_piece(&slice.runs),
        }
    }

    /// The number of bytes that it takes in a member.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Stored(bytes) => stored_len(bytes.len()),
            Form::Rows { rows, close: Close::Separated, .. } => rows.deflated().deflated_len(),
            Form::Rows { rows, close: Close::Open, .. } => {
                rows.deflated().deflated_len() - Deflated::LAST_SEPARATOR
            }
            Form::Own { blocks, .. } => blocks.len(),
        }
    }

    /// The number of bytes of memory that it takes in addition to its entry.
    pub fn own_len(&self) -> usize {
        match &self.0 {
            Form::Stored(bytes) | Form::Own { blocks: bytes, .. } => bytes.len(),
            Form::Rows { rows: DeflatedSource::Whole(..), .. } => 0,
            Form::Rows { rows: DeflatedSource::Piece(deflated), .. } => deflated.deflated_len(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The deflated form of rows that their entry keeps; `None` if it can't be sent.
fn kept(rows: &RowsPart) -> io::Result<Option<DeflatedSource>> {
    let RowsPart { slice, .. } = rows;
    if slice.entry.has_line_breaks() {
        return Ok(None);
    }
    let kept = if slice.is_whole() {
        DeflatedSource::Whole(Arc::clone(&slice.entry), slice.entry.deflated()?)
    } else {
        DeflatedSource::Piece(slice.entry.piece(&slice.runs)?)
    };
    Ok(kept.deflated().is_sendable().then_some(kept))
}

/// Deflates bytes for this body only.
fn own(chunks: &[Bytes]) -> io::Result<Form> {
    let blocks = deflate(Effort::Arrival.level(), |deflating| {
        let mut out = Vec::new();
        chunks.iter().try_for_each(|chunk| deflating.push(chunk, &mut out))?;
        Ok(Bytes::from(out))
    })?;
    let mut crc = crc32fast::Hasher::new();
    chunks.iter().for_each(|chunk| crc.update(chunk));
    let len = chunks.iter().map(Bytes::len).sum();
    Ok(Form::Own { blocks, crc: crc.finalize(), shift: Shift::of(len), len })
}
