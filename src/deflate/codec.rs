use std::cell::RefCell;
use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The minimum growth of the output when the encoder runs out of it.
const GROWTH: usize = 16 * 1024;

thread_local! {
    /// Encoders and decoders have a quarter of a megabyte of tables, so each thread keeps one of each.
    static ENCODER: RefCell<Option<(u32, Compress)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// A raw deflate stream in progress. Each part ends on a byte boundary.
#[derive(Debug)]
pub struct Deflating<'a>(&'a mut Compress);

impl Deflating<'_> {
    /// Deflates more bytes and appends the result, up to a byte boundary.
    ///
    /// # Errors
    /// None in practice, because the encoder writes into memory.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut left = bytes;
        loop {
            if out.capacity() - out.len() < GROWTH {
                out.reserve(GROWTH.max(left.len() / 4));
            }
            let before = self.0.total_in();
            self.0.compress_vec(left, out, FlushCompress::Sync).map_err(io::Error::other)?;
            left = usize::try_from(self.0.total_in() - before)
                .ok()
                .and_then(|n| left.get(n..))
                .unwrap_or_default();
            // If the output has room left, everything has been written.
            if left.is_empty() && out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

/// Begins a raw deflate stream and passes it to `work`.
///
/// # Errors
/// Those of `work`.
pub fn deflate<T>(level: u32, work: impl FnOnce(&mut Deflating<'_>) -> io::Result<T>) -> io::Result<T> {
    let kept = ENCODER.take().filter(|(of, _)| *of == level);
    let mut encoder =
        kept.map_or_else(|| Compress::new(Compression::new(level), false), |(_, encoder)| encoder);
    encoder.reset();
    let done = work(&mut Deflating(&mut encoder));
    ENCODER.set(Some((level, encoder)));
    done
}

/// Inflates blocks that end on a byte boundary, without a last block.
///
/// # Errors
/// The blocks are invalid, or do not inflate to `length` bytes.
pub(super) fn inflate(blocks: &[u8], length: usize) -> io::Result<Vec<u8>> {
    // A spare byte lets the decoder reach the end of its input.
    let mut out = Vec::with_capacity(length + 1);
    let mut decoder = DECODER.take().unwrap_or_else(|| Decompress::new(false));
    decoder.reset(false);
    let status = decoder.decompress_vec(blocks, &mut out, FlushDecompress::Sync);
    DECODER.set(Some(decoder));
    match status.map_err(io::Error::other)? {
        Status::Ok | Status::BufError | Status::StreamEnd if out.len() == length => Ok(out),
        Status::Ok | Status::BufError | Status::StreamEnd => {
            Err(io::Error::other("deflated rows do not have their original length"))
        }
    }
}
