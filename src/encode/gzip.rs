use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

/// How much is compressed on the way out. Level 1 takes a third of level 3's time and 10 to 20 % more bytes.
const LEVEL: Compression = Compression::new(1);

/// What is shorter is compressed at once: it takes less time than handing it over.
const INLINE_BELOW: usize = 16 * 1024;

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952, one member.
    Gzip,
}

/// Whether what was compressed so far can be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Some may wait in the encoder for what follows.
    Later,
    /// All can be read: the segment ends on a byte boundary. Costs some bytes.
    Sync,
}

/// One gzip member under way.
pub struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    /// Begins a member.
    pub fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), LEVEL))
    }

    /// Takes more in, and gives what is compressed by now.
    ///
    /// # Errors
    /// None in practice: the encoder writes into memory.
    pub fn push(&mut self, chunks: &[Bytes], flush: Flush) -> io::Result<Bytes> {
        chunks.iter().try_for_each(|chunk| self.0.write_all(chunk))?;
        match flush {
            Flush::Later => {}
            Flush::Sync => self.0.flush()?,
        }
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    /// Ends the member, and gives the rest of it.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(self) -> io::Result<Bytes> {
        self.0.finish().map(Bytes::from)
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gzip")
    }
}

/// Compresses off the workers, as many chunks at a time as it has places. Clones share the places.
#[derive(Clone, Debug)]
pub struct Compressor {
    places: Arc<Semaphore>,
}

impl Compressor {
    /// With this many places; more than there are cores gain nothing.
    pub fn new(places: std::num::NonZeroUsize) -> Self {
        Self { places: Arc::new(Semaphore::new(places.get())) }
    }

    /// [`Gzip::push`] away from the worker. Dropped, it finishes the chunk that it began and no more.
    ///
    /// # Errors
    /// If the runtime is going away.
    pub async fn push(&self, mut gzip: Gzip, chunks: Vec<Bytes>, flush: Flush) -> io::Result<(Gzip, Bytes)> {
        if chunks.iter().map(Bytes::len).sum::<usize>() < INLINE_BELOW {
            let out = gzip.push(&chunks, flush)?;
            return Ok((gzip, out));
        }
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let out = gzip.push(&chunks, flush)?;
            Ok((gzip, out))
        })
        .await
        .map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::num::NonZeroUsize;

    use flate2::read::{GzDecoder, MultiGzDecoder};

    use super::*;

    #[test]
    fn many_chunks_are_one_member() {
        let mut gzip = Gzip::new();
        let mut wire = Vec::new();
        for text in ["one", "two", "three"] {
            wire.extend_from_slice(&gzip.push(&[Bytes::from_static(text.as_bytes())], Flush::Sync).unwrap());
        }
        wire.extend_from_slice(&gzip.finish().unwrap());
        let (mut first, mut all) = (String::new(), String::new());
        GzDecoder::new(&wire[..]).read_to_string(&mut first).unwrap();
        MultiGzDecoder::new(&wire[..]).read_to_string(&mut all).unwrap();
        assert_eq!((first.as_str(), all.as_str()), ("onetwothree", "onetwothree"));
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        let mut gzip = Gzip::new();
        let wire = gzip.push(&[Bytes::from_static(b"a row\n")], Flush::Sync).unwrap();
        let mut read = [0; 6];
        GzDecoder::new(&wire[..]).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"a row\n");
    }

    #[tokio::test]
    async fn large_chunks_come_back_whole_from_the_other_thread() {
        let compressor = Compressor::new(NonZeroUsize::MIN);
        let large = Bytes::from("0123456789".repeat(INLINE_BELOW));
        let (gzip, head) = compressor.push(Gzip::new(), vec![large.clone()], Flush::Later).await.unwrap();
        let wire = [head, gzip.finish().unwrap()].concat();
        let mut read = Vec::new();
        GzDecoder::new(&wire[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, large);
    }
}
