use bytes::Bytes;

use super::part::{BodyPart, Close, RowsPart};
use crate::deflate::Separator;
use crate::domain::EntrySlice;

/// The layout of rows in a body.
#[derive(Clone, Debug)]
pub enum Framing {
    /// One JSON document: a head, the rows with commas between them, and `]}`.
    Json {
        /// From the opening brace to the bracket that opens the rows.
        head: Bytes,
    },
    /// One row per line.
    Ndjson,
    /// A header line, followed by rows that are lines of a table already.
    Table {
        /// The header line, including its line break.
        head: Bytes,
    },
}

impl Framing {
    /// The number of bytes that all rows of a body take, without its beginning and its end.
    pub fn rows_len(&self, slices: &[EntrySlice]) -> u64 {
        let with_separators = slices.iter().map(|slice| slice.byte_len() as u64).sum::<u64>();
        match self {
            Self::Json { .. } => with_separators.saturating_sub(1),
            Self::Ndjson | Self::Table { .. } => with_separators,
        }
    }

    /// The bytes before the first row.
    pub fn begin(&self) -> Bytes {
        match self {
            Self::Json { head } | Self::Table { head } => head.clone(),
            Self::Ndjson => Bytes::new(),
        }
    }

    /// A part with rows that are followed by others.
    pub const fn rows(&self, slice: EntrySlice) -> BodyPart {
        BodyPart::Rows(RowsPart { slice, separator: self.separator(), close: Close::Separated })
    }

    /// A part with the last rows.
    pub const fn last_rows(&self, slice: EntrySlice) -> BodyPart {
        let close = match self {
            Self::Json { .. } => Close::Open,
            Self::Ndjson | Self::Table { .. } => Close::Separated,
        };
        BodyPart::Rows(RowsPart { slice, separator: self.separator(), close })
    }

    const fn separator(&self) -> Separator {
        match self {
            Self::Json { .. } => Separator::Comma,
            Self::Ndjson | Self::Table { .. } => Separator::Line,
        }
    }

    /// The bytes after the last row. Only NDJSON has `last_line`: a document has the same values in its head.
    pub fn finish(&self, last_line: Bytes) -> Bytes {
        match self {
            Self::Json { .. } => Bytes::from_static(b"]}"),
            Self::Ndjson => last_line,
            Self::Table { .. } => Bytes::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::part::plain;
    use super::*;
    use crate::domain::{Digest, Entry, FilterFacts, NewRow, Row, Timestamp};
    use crate::encode::{CHUNK, GzipMember, Packed};

    /// An entry of these rows, which must be sorted, newest first.
    pub(crate) fn entry(rows: &[&str]) -> Arc<Entry> {
        let new = rows.iter().enumerate().map(|(i, text)| {
            let at = Timestamp::from_micros(-(i64::try_from(i).unwrap()));
            let row = Row {
                id: format!("row-{i}").into(),
                created_at: Some(at),
                updated_at: None,
                facts: FilterFacts::default(),
                status: None,
                bytes: Bytes::copy_from_slice(text.as_bytes()),
            };
            NewRow { row, created_at: at, read_at: at, is_doubted: false, digest: Digest(i as u128 + 1) }
        });
        Arc::new(Entry::new(&new.collect::<Vec<_>>()))
    }

    /// A slice of all rows of an entry.
    pub(crate) fn whole(rows: &[&str]) -> EntrySlice {
        EntrySlice::select(entry(rows), 0..rows.len(), |_| true).unwrap()
    }

    fn json() -> Framing {
        Framing::Json { head: Bytes::from_static(b"{\"data\":[") }
    }

    fn parts(framing: &Framing, slices: &[EntrySlice]) -> Vec<BodyPart> {
        let (last, others) = match slices.split_last() {
            Some((last, others)) => (Some(framing.last_rows(last.clone())), others),
            None => (None, slices),
        };
        let rows = others.iter().map(|slice| framing.rows(slice.clone())).chain(last);
        let begin = std::iter::once(BodyPart::Text(framing.begin()));
        begin.chain(rows).chain([BodyPart::Text(framing.finish(Bytes::new()))]).collect()
    }

    fn body(framing: &Framing, slices: &[EntrySlice]) -> Vec<u8> {
        plain(&parts(framing, slices)).unwrap().concat()
    }

    /// The same body, compressed and decompressed.
    fn unpacked(framing: &Framing, slices: &[EntrySlice]) -> Vec<u8> {
        let mut member = GzipMember::new();
        let mut length = GzipMember::AROUND;
        for part in parts(framing, slices) {
            let packed = Packed::new(&part).unwrap();
            length += packed.len();
            member.put(&packed);
        }
        let wire = member.finish().concat();
        assert_eq!(wire.len(), length);
        let mut out = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(&wire[..]);
        decoder.read_to_end(&mut out).unwrap();
        assert!(decoder.into_inner().is_empty(), "bytes follow the member");
        out
    }

    #[test]
    fn a_document_has_commas_only_between_rows() {
        let (one, two) = (whole(&["{}", "[1]"]), whole(&["{\"a\":1}"]));
        assert_eq!(body(&json(), &[one, two]), b"{\"data\":[{},[1],{\"a\":1}]}");
        assert_eq!(body(&json(), &[]), b"{\"data\":[]}");
    }

    #[test]
    fn does_not_copy_long_runs_of_rows() {
        let text = format!("\"{}\"", "x".repeat(CHUNK));
        let slice = whole(&[&text, &text]);
        let chunks = plain(&[Framing::Ndjson.rows(slice.clone())]).unwrap();
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].as_ptr(), slice.entry.plain(Separator::Line).unwrap().as_ptr());
    }

    #[test]
    fn joins_the_lines_of_a_row() {
        let slice = whole(&["{\r\n \"a\": 1\n}", "{}"]);
        let slice = std::slice::from_ref(&slice);
        assert_eq!(body(&Framing::Ndjson, slice), b"{   \"a\": 1 }\n{}\n");
        assert_eq!(unpacked(&Framing::Ndjson, slice), b"{   \"a\": 1 }\n{}\n");
        assert_eq!(unpacked(&json(), slice), b"{\"data\":[{\r\n \"a\": 1\n},{}]}");
    }

    #[test]
    fn does_not_copy_deflated_rows() {
        // A row so incompressible that its blocks are too long to be copied.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'#' + u8::try_from(state >> 26).unwrap())
        };
        let text: String = (0..CHUNK).map(|_| next()).collect();
        let slice = whole(&[&text, "{}"]);
        let blocks = slice.entry.deflated().unwrap().blocks(Separator::Line);
        let mut member = GzipMember::new();
        member.put(&Packed::new(&Framing::Ndjson.rows(slice)).unwrap());
        assert!(member.take().iter().any(|chunk| chunk.as_ptr() == blocks.as_ptr()));
    }

    proptest! {
        #[test]
        fn the_length_is_known_before_encoding(
            keep in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..20), 0..6),
            length in 0usize..9000,
        ) {
            let slices: Vec<EntrySlice> = keep.iter().filter_map(|keep| {
                let texts: Vec<String> = (0..keep.len()).map(|i| format!("\"{i}{}\"", "y".repeat(length))).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let mut keep = keep.iter();
                EntrySlice::select(entry(&texts), 0..texts.len(), |_| *keep.next().unwrap())
            }).collect();
            for framing in [json(), Framing::Ndjson] {
                let around = framing.begin().len() + framing.finish(Bytes::new()).len();
                let expected = framing.rows_len(&slices) + around as u64;
                let plain = body(&framing, &slices);
                prop_assert_eq!(plain.len() as u64, expected);
                prop_assert!(unpacked(&framing, &slices) == plain);
            }
        }
    }
}
