use bytes::Bytes;
use crc32fast::Hasher;

use super::packed::{Form, Packed};
use super::part::Close;
use crate::deflate::{EMPTY_LAST, stored};

/// Deflate, no name, no time, no word on the effort, from an unknown system (RFC 1952 section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The last block, the CRC-32, the length.
const TRAILER_LEN: usize = EMPTY_LAST.len() + 4 + 4;

/// One gzip member under way, stitched from parts that were packed before.
///
/// Its checksum is combined from theirs. All that was put into it can be read at once: every part ends on a byte boundary.
#[derive(Debug)]
pub struct Member {
    sum: Hasher,
    /// The plain length as the trailer has it, modulo 2³².
    length: u32,
    out: Vec<u8>,
    /// How much is likely to be taken at a time.
    usual: usize,
}

impl Member {
    /// How many bytes a member takes beside its parts.
    pub const AROUND: usize = HEADER.len() + TRAILER_LEN;

    /// Begins a member.
    pub fn new() -> Self {
        Self::with_capacity(HEADER.len())
    }

    /// Begins a member of which so many bytes are taken at a time.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&HEADER);
        Self { sum: Hasher::new(), length: 0, out, usual: bytes }
    }

    /// Puts a part in.
    pub fn put(&mut self, packed: &Packed) {
        if self.out.is_empty() {
            self.out.reserve(self.usual.max(packed.len()));
        }
        match &packed.0 {
            Form::Stored(bytes) => self.store(bytes),
            Form::Own { blocks, crc, len } => {
                self.out.extend_from_slice(blocks);
                self.count(*crc, *len);
            }
            Form::Entry { deflated, separator, close } => {
                deflated.put_blocks(*separator, &mut self.out);
                self.count(deflated.crc(*separator), deflated.len());
                match close {
                    Close::Separated => self.store(&[separator.byte()]),
                    Close::Open => {}
                }
            }
        }
    }

    /// How much there is to be taken.
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is nothing to be taken.
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was put in since this was called last.
    pub fn take(&mut self) -> Bytes {
        self.usual = self.usual.max(self.out.len());
        std::mem::take(&mut self.out).into()
    }

    /// Ends the member, and gives the rest of it.
    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(&EMPTY_LAST);
        self.out.extend_from_slice(&self.sum.finalize().to_le_bytes());
        self.out.extend_from_slice(&self.length.to_le_bytes());
        self.out.into()
    }

    fn store(&mut self, bytes: &[u8]) {
        stored(bytes, &mut self.out);
        self.sum.update(bytes);
        self.lengthen(bytes.len());
    }

    fn count(&mut self, crc: u32, length: usize) {
        self.sum.combine(&Hasher::new_with_initial_len(crc, length as u64));
        self.lengthen(length);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the trailer holds the length modulo 2^32")]
    const fn lengthen(&mut self, length: usize) {
        self.length = self.length.wrapping_add(length as u32);
    }
}

impl Default for Member {
    fn default() -> Self {
        Self::new()
    }
}
