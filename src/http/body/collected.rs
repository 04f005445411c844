use std::io;
use std::vec;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::missing;
use crate::domain::{AgentId, EntrySlice};
use crate::encode::{Compressor, Flush, Framer, Framing, Gzip};
use crate::engine::Verdict;
use crate::http::problem::Face;

/// Small slices are laid out together until there is this much: few large chunks go faster than many small ones.
const CHUNK: usize = 256 * 1024;

/// A body that is whole before its first byte is sent: its length is known, its rows are where the cache has them.
#[derive(Debug)]
pub(crate) struct Whole {
    framing: Framing,
    slices: Vec<EntrySlice>,
    last_line: Bytes,
}

impl Whole {
    /// These rows in this framing; `last_line` for NDJSON.
    pub(crate) const fn new(framing: Framing, slices: Vec<EntrySlice>, last_line: Bytes) -> Self {
        Self { framing, slices, last_line }
    }

    /// Bytes as they are.
    pub(crate) const fn verbatim(bytes: Bytes) -> Self {
        Self { framing: Framing::Ndjson, slices: Vec::new(), last_line: bytes }
    }

    /// The length in bytes, uncompressed.
    pub(crate) fn len(&self) -> u64 {
        let around = self.framing.begin().len() + self.framing.finish(self.last_line.clone()).len();
        self.framing.rows_len(&self.slices) + around as u64
    }

    /// The body as it is, laid out chunk by chunk as it is read. Holds the answer's place until it is dropped.
    pub(crate) fn plain(self, place: OwnedSemaphorePermit) -> Body {
        let chunks = self.chunks().flatten().map(move |chunk| {
            let _held = &place;
            Ok::<_, io::Error>(chunk)
        });
        Body::from_stream(stream::iter(chunks))
    }

    /// The body as one gzip member, in memory.
    pub(crate) async fn compressed(self, compressor: &Compressor) -> io::Result<Bytes> {
        let mut gzip = Gzip::new();
        let mut out = Vec::new();
        for chunks in self.chunks() {
            let compressed;
            (gzip, compressed) = compressor.push(gzip, chunks, Flush::Later).await?;
            out.extend_from_slice(&compressed);
        }
        out.extend_from_slice(&gzip.finish()?);
        Ok(out.into())
    }

    fn chunks(self) -> Chunks {
        Chunks {
            framer: Framer::new(self.framing),
            slices: self.slices.into_iter(),
            last_line: self.last_line,
            part: Part::Begin,
        }
    }
}

/// What comes next of a whole body.
enum Part {
    Begin,
    Rows,
    Over,
}

/// Lays a whole body out, a chunk's worth at a time.
struct Chunks {
    framer: Framer,
    slices: vec::IntoIter<EntrySlice>,
    last_line: Bytes,
    part: Part,
}

impl Iterator for Chunks {
    type Item = Vec<Bytes>;

    fn next(&mut self) -> Option<Vec<Bytes>> {
        match self.part {
            Part::Begin => {
                self.part = Part::Rows;
                Some(not_empty(self.framer.framing().begin()))
            }
            Part::Rows => {
                let mut length = 0;
                let rest = self.slices.as_slice();
                let group = rest.iter().take_while(|slice| {
                    let has_room = length < CHUNK;
                    length += slice.byte_len();
                    has_room
                });
                let group: Vec<_> = group.cloned().collect();
                if group.is_empty() {
                    self.part = Part::Over;
                    return Some(not_empty(self.framer.framing().finish(self.last_line.clone())));
                }
                let chunks = self.framer.page(&group);
                self.slices.nth(group.len() - 1);
                Some(chunks)
            }
            Part::Over => None,
        }
    }
}

fn not_empty(chunk: Bytes) -> Vec<Bytes> {
    if chunk.is_empty() { Vec::new() } else { vec![chunk] }
}

/// The document around all rows of an answer: what one of upstream's pages has around them, and the verdict.
pub(crate) fn envelope(agent: AgentId, verdict: &Verdict, face: Face) -> Framing {
    #[derive(Serialize)]
    struct Head<M> {
        agent_id: String,
        as_of: String,
        page_number: u32,
        page_size: u64,
        total: u64,
        has_more: bool,
        complete: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<M>,
    }
    framing(&Head {
        agent_id: agent.to_string(),
        as_of: verdict.as_of.to_string(),
        page_number: 1,
        page_size: verdict.count,
        total: verdict.count,
        has_more: false,
        complete: verdict.is_complete(),
        missing: missing(&verdict.missing, face),
    })
}

/// The document around one page, as upstream writes it.
pub(crate) fn page_envelope(page_number: u64, page_size: u64, total: u64) -> Framing {
    #[derive(Serialize)]
    struct Head {
        page_number: u64,
        page_size: u64,
        total: u64,
        has_more: bool,
    }
    let has_more = page_number.saturating_mul(page_size) < total;
    framing(&Head { page_number, page_size, total, has_more })
}

fn framing(head: &impl Serialize) -> Framing {
    // Text, numbers and booleans only: serialization can't fail.
    let mut text = serde_json::to_vec(head).unwrap_or_default();
    text.pop();
    text.extend_from_slice(b",\"data\":[");
    Framing::Json { head: text.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::encode::whole_slice;

    fn plain(whole: Whole) -> Vec<u8> {
        whole.chunks().flatten().collect::<Vec<_>>().concat()
    }

    fn long_rows() -> Vec<EntrySlice> {
        let row = format!("\"{}\"", "0123456789".repeat(CHUNK / 40));
        (0..9).map(|_| whole_slice(&[&row, "{}"])).collect()
    }

    #[test]
    fn a_page_says_whether_more_follow() {
        let head =
            |number, size, total| plain(Whole::new(page_envelope(number, size, total), vec![], Bytes::new()));
        assert_eq!(
            head(2, 20, 41),
            br#"{"page_number":2,"page_size":20,"total":41,"has_more":true,"data":[]}"#
        );
        assert!(head(3, 20, 41).windows(16).any(|w| w == br#""has_more":false"#));
        assert!(head(2, 20, 40).windows(16).any(|w| w == br#""has_more":false"#));
    }

    #[test]
    fn the_length_is_that_of_what_is_sent() {
        for framing in [page_envelope(1, 1, 1), Framing::Ndjson] {
            let whole = || Whole::new(framing.clone(), long_rows(), Bytes::from_static(b"{}\n"));
            assert_eq!(whole().len(), plain(whole()).len() as u64);
        }
    }

    #[test]
    fn chunks_are_large_and_memory_is_bounded_by_one() {
        let mut chunks = Whole::new(page_envelope(1, 1, 1), long_rows(), Bytes::new()).chunks();
        let lengths: Vec<usize> =
            std::iter::from_fn(|| chunks.next().map(|c| c.iter().map(Bytes::len).sum())).collect();
        assert!(lengths.len() > 4, "{lengths:?}");
        assert!(lengths.iter().all(|&length| length < 2 * CHUNK), "{lengths:?}");
    }

    #[tokio::test]
    async fn compressed_it_says_the_same() {
        let whole = || Whole::new(page_envelope(1, 1, 1), long_rows(), Bytes::new());
        let wire = whole().compressed(&Compressor::new(NonZeroUsize::MIN)).await.unwrap();
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&wire[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, plain(whole()));
    }
}
