use std::io;
use std::vec;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use serde::Serialize;

use super::{missing, open_object};
use crate::domain::{AgentId, EntrySlice};
use crate::encode::{BodyPart, CHUNK, CompressionPool, Framing, GzipMember, Packed};
use crate::engine::{AskError, HeldMemory, Verdict};
use crate::http::places::ResponsePlace;
use crate::http::problem::ErrorRenderer;

/// A body that is complete before its first byte is sent. Its length is known, and its rows stay where the
/// cache keeps them.
#[derive(Debug)]
pub(crate) struct WholeBody {
    sections: Vec<BodySection>,
    held: Vec<HeldMemory>,
}

/// Rows of a complete body, and the text around them.
#[derive(Debug)]
pub(crate) struct BodySection {
    /// How the rows are separated; its text before and after them is not used.
    pub(crate) framing: Framing,
    /// The bytes before the first row.
    pub(crate) begin: Bytes,
    /// The rows.
    pub(crate) slices: Vec<EntrySlice>,
    /// The bytes after the last row.
    pub(crate) finish: Bytes,
}

impl BodySection {
    /// These rows in this framing; `last_line` for NDJSON.
    pub(crate) fn new(framing: Framing, slices: Vec<EntrySlice>, last_line: Bytes) -> Self {
        let (begin, finish) = (framing.begin(), framing.finish(last_line));
        Self { framing, begin, slices, finish }
    }

    /// These rows as NDJSON, after this text.
    pub(crate) const fn lines(begin: Bytes, slices: Vec<EntrySlice>) -> Self {
        Self { framing: Framing::Ndjson, begin, slices, finish: Bytes::new() }
    }

    /// Text without rows.
    pub(crate) const fn text(text: Bytes) -> Self {
        Self::lines(text, Vec::new())
    }

    fn len(&self) -> u64 {
        self.framing.rows_len(&self.slices) + (self.begin.len() + self.finish.len()) as u64
    }

    fn parts(self) -> impl Iterator<Item = BodyPart> {
        let Self { framing, begin, slices, finish } = self;
        let text = |bytes: Bytes| (!bytes.is_empty()).then_some(BodyPart::Text(bytes));
        let last = slices.len().saturating_sub(1);
        let (begin, finish) = (text(begin), text(finish));
        let rows = slices.into_iter().enumerate().map(move |(number, slice)| {
            if number == last { framing.last_rows(slice) } else { framing.rows(slice) }
        });
        begin.into_iter().chain(rows).chain(finish)
    }
}

impl WholeBody {
    /// Creates the body of these rows in this framing, with the memory that they hold; `last_line` is for
    /// NDJSON.
    pub(crate) fn new(framing: Framing, slices: Vec<EntrySlice>, last_line: Bytes, held: HeldMemory) -> Self {
        Self::of_sections(vec![BodySection::new(framing, slices, last_line)], vec![held])
    }

    /// These sections one after another, and the memory that their rows hold.
    pub(crate) const fn of_sections(sections: Vec<BodySection>, held: Vec<HeldMemory>) -> Self {
        Self { sections, held }
    }

    /// A body of these bytes.
    pub(crate) fn verbatim(bytes: Bytes) -> Self {
        Self::new(Framing::Ndjson, Vec::new(), bytes, HeldMemory::default())
    }

    /// Whether the bytes of all rows are in memory.
    pub(crate) fn has_bytes(&self) -> bool {
        let mut slices = self.sections.iter().flat_map(|section| &section.slices);
        slices.all(|slice| slice.entry.has_bytes())
    }

    /// The length in bytes, uncompressed.
    pub(crate) fn len(&self) -> u64 {
        self.sections.iter().map(BodySection::len).sum()
    }

    /// The uncompressed body, assembled chunk by chunk as it is read. Holds the response's place until it is
    /// dropped.
    pub(crate) fn plain(self, compression_pool: &CompressionPool, place: ResponsePlace) -> Body {
        let (groups, held) = self.groups();
        let state = (groups, compression_pool.clone(), (place, held));
        let chunks = stream::try_unfold(state, async |(mut groups, compression_pool, kept)| {
            let Some(parts) = groups.next() else { return Ok(None) };
            let chunks = compression_pool.plain(parts).await?;
            Ok::<_, io::Error>(Some((
                stream::iter(chunks.into_iter().map(Ok::<_, io::Error>)),
                (groups, compression_pool, kept),
            )))
        });
        Body::from_stream(chunks.try_flatten())
    }

    /// Compresses the body into one gzip member, ready to be sent. Deflates only what is not cached deflated.
    ///
    /// # Errors
    /// If the runtime ends, or there is no memory for the bytes that are deflated for this body alone.
    pub(crate) async fn packed(self, compression_pool: &CompressionPool) -> Result<PackedWhole, AskError> {
        let mut packed = Vec::new();
        let (groups, mut held) = self.groups();
        for parts in groups {
            let parts = compression_pool.pack(parts).await.map_err(|_| AskError::ShuttingDown)?;
            let own: usize = parts.iter().map(Packed::own_len).sum();
            if let Some(held) = held.last_mut() {
                held.hold_alone(own as u64).map_err(AskError::NoMemory)?;
            }
            packed.extend(parts);
        }
        Ok(PackedWhole { parts: packed, held })
    }

    fn groups(self) -> (Groups, Vec<HeldMemory>) {
        let parts = self.sections.into_iter().flat_map(BodySection::parts);
        (Groups(parts.collect::<Vec<_>>().into_iter()), self.held)
    }
}

/// The parts of a complete body, in groups of about one chunk.
struct Groups(vec::IntoIter<BodyPart>);

impl Iterator for Groups {
    type Item = Vec<BodyPart>;

    fn next(&mut self) -> Option<Vec<BodyPart>> {
        let mut length = 0;
        let mut group = Vec::new();
        while length < CHUNK
            && let Some(part) = self.0.next()
        {
            length += part.len();
            group.push(part);
        }
        (!group.is_empty()).then_some(group)
    }
}

/// A complete body, ready to be sent as one gzip member.
#[derive(Debug)]
pub(crate) struct PackedWhole {
    parts: Vec<Packed>,
    held: Vec<HeldMemory>,
}

impl PackedWhole {
    /// The length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.parts.iter().map(|packed| packed.len() as u64).sum::<u64>() + GzipMember::AROUND as u64
    }

    /// The body, assembled chunk by chunk as it is read. Holds the response's place until it is dropped.
    pub(crate) fn body(self, place: ResponsePlace) -> Body {
        let (chunks, held) = self.chunks();
        let kept = (place, held);
        let chunks = chunks.map(move |chunk| {
            let _kept = &kept;
            Ok::<_, io::Error>(chunk)
        });
        Body::from_stream(stream::iter(chunks))
    }

    fn chunks(self) -> (impl Iterator<Item = Bytes> + Send, Vec<HeldMemory>) {
        let (mut parts, mut member) = (self.parts.into_iter(), Some(GzipMember::new()));
        let chunks = std::iter::from_fn(move || {
            while let Some(open) = &mut member {
                match parts.next() {
                    Some(part) => open.put(&part),
                    None => return member.take().map(GzipMember::finish),
                }
                if open.len() >= CHUNK {
                    return Some(open.take());
                }
            }
            None
        });
        (chunks.flatten(), self.held)
    }
}

/// The envelope of a complete response: that of upstream's pages, with the verdict.
pub(crate) fn envelope(agent: AgentId, verdict: &Verdict, renderer: ErrorRenderer) -> Framing {
    #[derive(Serialize)]
    struct AllHead<M> {
        agent_id: String,
        as_of: String,
        page_number: u32,
        page_size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        has_more: bool,
        complete: bool,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<M>,
    }
    framing(&AllHead {
        agent_id: agent.to_string(),
        as_of: verdict.as_of.to_string(),
        page_number: 1,
        page_size: verdict.count,
        total: verdict.total,
        has_more: verdict.has_more(),
        complete: verdict.is_complete(),
        missing: missing(&verdict.missing, renderer),
    })
}

/// The envelope of one page, as upstream writes it.
///
/// Without a `total`, more rows follow those up to this page.
pub(crate) fn page_envelope(page_number: u64, page_size: u64, total: Option<u64>) -> Framing {
    #[derive(Serialize)]
    struct PageHead {
        page_number: u64,
        page_size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        has_more: bool,
    }
    framing(&PageHead { page_number, page_size, total, has_more: total.is_none() })
}

fn framing(head: &impl Serialize) -> Framing {
    let mut text = open_object(head);
    text.extend_from_slice(b",\"data\":[");
    Framing::Json { head: text.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::encode::whole_slice;

    fn compression_pool() -> CompressionPool {
        CompressionPool::new(NonZeroUsize::MIN)
    }

    fn place() -> ResponsePlace {
        ResponsePlace::alone()
    }

    async fn plain(whole: WholeBody) -> Vec<u8> {
        axum::body::to_bytes(whole.plain(&compression_pool(), place()), usize::MAX).await.unwrap().to_vec()
    }

    fn long_rows() -> Vec<EntrySlice> {
        let row = format!("\"{}\"", "0123456789".repeat(CHUNK / 40));
        (0..9).map(|_| whole_slice(&[&row, "{}"])).collect()
    }

    #[tokio::test]
    async fn a_page_says_whether_more_rows_follow() {
        let head = |number, size, total| {
            plain(WholeBody::new(
                page_envelope(number, size, total),
                vec![],
                Bytes::new(),
                HeldMemory::default(),
            ))
        };
        assert_eq!(head(2, 20, None).await, br#"{"page_number":2,"page_size":20,"has_more":true,"data":[]}"#);
        assert_eq!(
            head(3, 20, Some(41)).await,
            br#"{"page_number":3,"page_size":20,"total":41,"has_more":false,"data":[]}"#
        );
    }

    #[tokio::test]
    async fn the_length_is_the_number_of_bytes_sent() {
        for framing in [page_envelope(1, 1, Some(1)), Framing::Ndjson] {
            let whole = || {
                WholeBody::new(
                    framing.clone(),
                    long_rows(),
                    Bytes::from_static(b"{}\n"),
                    HeldMemory::default(),
                )
            };
            assert_eq!(whole().len(), plain(whole()).await.len() as u64);
            let packed = whole().packed(&compression_pool()).await.unwrap();
            let length = packed.len();
            assert_eq!(length, packed.chunks().0.map(|chunk| chunk.len() as u64).sum::<u64>());
        }
    }

    #[tokio::test]
    async fn chunks_are_large_and_only_one_is_in_memory() {
        let groups =
            WholeBody::new(page_envelope(1, 1, Some(1)), long_rows(), Bytes::new(), HeldMemory::default())
                .groups()
                .0;
        let lengths: Vec<usize> = groups.map(|parts| parts.iter().map(BodyPart::len).sum()).collect();
        assert!(lengths.len() > 2, "{lengths:?}");
        assert!(lengths.iter().all(|&length| length < 2 * CHUNK), "{lengths:?}");
    }

    #[tokio::test]
    async fn the_compressed_body_has_the_same_content() {
        let whole =
            || WholeBody::new(page_envelope(1, 1, Some(1)), long_rows(), Bytes::new(), HeldMemory::default());
        let wire = whole().packed(&compression_pool()).await.unwrap().chunks().0.collect::<Vec<_>>().concat();
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&wire[..]).read_to_end(&mut read).unwrap();
        assert!(read == plain(whole()).await);
    }
}
