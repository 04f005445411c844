use bytes::Bytes;
use crc32fast::Hasher;

use super::packed::{Form, Packed};
use super::part::Close;
use crate::deflate::{Deflated, EMPTY_LAST, Shift, stored};

/// The header: deflate, without a name, a time, an effort or a system (RFC 1952 section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The size of the last block, the CRC-32 and the length.
const TRAILER_LEN: usize = EMPTY_LAST.len() + 4 + 4;

/// Shorter blocks are copied into a chunk with their neighbors.
const COPY_BELOW: usize = 8 * 1024;

/// A gzip member in progress, stitched from packed parts.
///
/// Its checksum is combined from theirs. Every part ends on a byte boundary, so a client can inflate everything that was put
/// in so far. Long blocks are not copied.
#[derive(Debug)]
pub struct GzipMember {
    crc: u32,
    /// The plain length modulo 2³², as in the trailer.
    length: u32,
    /// Finished chunks.
    chunks: Vec<Bytes>,
    /// The total length of `chunks`.
    len: usize,
    /// The chunk in progress.
    open: Vec<u8>,
}

impl GzipMember {
    /// The bytes of a member in addition to its parts.
    pub const AROUND: usize = HEADER.len() + TRAILER_LEN;

    /// Begins a member.
    pub fn new() -> Self {
        Self { crc: 0, length: 0, chunks: Vec::new(), len: 0, open: HEADER.to_vec() }
    }

    /// Adds a part.
    pub fn put(&mut self, packed: &Packed) {
        match &packed.0 {
            Form::Stored(bytes) => self.store(bytes),
            Form::Own { blocks, crc, shift, len } => {
                self.push(blocks.clone());
                self.count(*crc, *shift, *len);
            }
            Form::Rows { rows, separator, close } => {
                let (deflated, mut blocks) = (rows.deflated(), rows.blocks(*separator));
                self.count(deflated.crc(*separator), deflated.shift(), deflated.len() - 1);
                match close {
                    Close::Separated => self.sum(&[separator.byte()]),
                    Close::Open => blocks.truncate(blocks.len() - Deflated::LAST_SEPARATOR),
                }
                self.push(blocks);
            }
        }
    }

    /// The number of bytes that can be taken.
    pub const fn len(&self) -> usize {
        self.len + self.open.len()
    }

    /// Whether no bytes can be taken.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes everything that was added since the last call.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.close();
        self.len = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Ends the member and returns the rest of it.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.open.extend_from_slice(&EMPTY_LAST);
        self.open.extend_from_slice(&self.crc.to_le_bytes());
        self.open.extend_from_slice(&self.length.to_le_bytes());
        self.take()
    }

    fn push(&mut self, blocks: Bytes) {
        if blocks.len() < COPY_BELOW {
            self.open.extend_from_slice(&blocks);
        } else {
            self.close();
            self.len += blocks.len();
            self.chunks.push(blocks);
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.len += self.open.len();
            self.chunks.push(std::mem::take(&mut self.open).into());
        }
    }

    fn store(&mut self, bytes: &[u8]) {
        stored(bytes, &mut self.open);
        self.sum(bytes);
    }

    fn sum(&mut self, bytes: &[u8]) {
        let mut hasher = Hasher::new_with_initial(self.crc);
        hasher.update(bytes);
        self.crc = hasher.finalize();
        self.lengthen(bytes.len());
    }

    const fn count(&mut self, crc: u32, shift: Shift, length: usize) {
        self.crc = shift.combine(self.crc, crc);
        self.lengthen(length);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the trailer holds the length modulo 2^32")]
    const fn lengthen(&mut self, length: usize) {
        self.length = self.length.wrapping_add(length as u32);
    }
}

impl Default for GzipMember {
    fn default() -> Self {
        Self::new()
    }
}
