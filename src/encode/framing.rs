use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::EntrySlice;

/// Runs of rows shorter than this are copied together rather than sent by themselves.
///
/// Many small chunks cost more than the copy: at 5 KB a chunk a body reaches a third of what it does at 170 KB.
const COPY_BELOW: usize = 32 * 1024;

/// How rows are laid out.
#[derive(Clone, Debug)]
pub enum Framing {
    /// One document: what stands before the first row, the rows with commas between them, `]}`.
    Json {
        /// From the opening brace to the bracket that opens the rows.
        head: Bytes,
    },
    /// One row a line.
    Ndjson,
}

impl Framing {
    /// How many bytes the pages of these rows take together, without what begins and finishes them.
    pub fn rows_len(&self, slices: &[EntrySlice]) -> u64 {
        let with_separators = slices.iter().map(|slice| slice.byte_len() as u64).sum::<u64>();
        match self {
            Self::Json { .. } => with_separators.saturating_sub(1),
            Self::Ndjson => with_separators,
        }
    }

    /// What stands before the first row.
    pub fn begin(&self) -> Bytes {
        match self {
            Self::Json { head } => head.clone(),
            Self::Ndjson => Bytes::new(),
        }
    }

    /// What stands after the last row. `last_line` is NDJSON's; a document says all of it in its head.
    pub fn finish(&self, last_line: Bytes) -> Bytes {
        match self {
            Self::Json { .. } => Bytes::from_static(b"]}"),
            Self::Ndjson => last_line,
        }
    }
}

/// Lays out the rows of one body, in order.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    /// Whether a row has gone out, so that the next one needs a comma before it.
    has_rows: bool,
}

impl Framer {
    /// Begins a body.
    pub const fn new(framing: Framing) -> Self {
        Self { framing, has_rows: false }
    }

    /// How it lays rows out.
    pub const fn framing(&self) -> &Framing {
        &self.framing
    }

    /// The next rows as they go on the wire, in few large chunks.
    ///
    /// Lines are slices of the entries as they lie; a document is copied, for its commas.
    pub fn page(&mut self, slices: &[EntrySlice]) -> Vec<Bytes> {
        match self.framing {
            Framing::Json { .. } => self.elements(slices),
            Framing::Ndjson => lines(slices),
        }
    }

    fn elements(&mut self, slices: &[EntrySlice]) -> Vec<Bytes> {
        let mut out = BytesMut::with_capacity(slices.iter().map(EntrySlice::byte_len).sum());
        for slice in slices {
            for position in slice.positions() {
                if self.has_rows {
                    out.put_u8(b',');
                }
                self.has_rows = true;
                let row = slice.entry.byte_range(position..position + 1);
                out.put_slice(&slice.entry.bytes()[row.start..row.end - 1]);
            }
        }
        if out.is_empty() { Vec::new() } else { vec![out.freeze()] }
    }
}

fn lines(slices: &[EntrySlice]) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut copied = BytesMut::new();
    for slice in slices {
        for run in &slice.runs {
            let range = slice.entry.byte_range(run.clone());
            if slice.entry.has_line_breaks() {
                for position in run.clone() {
                    put_line(&mut copied, &slice.entry.row_bytes(position));
                }
            } else if range.len() < COPY_BELOW {
                copied.put_slice(&slice.entry.bytes()[range]);
            } else {
                if !copied.is_empty() {
                    out.push(copied.split().freeze());
                }
                out.push(slice.entry.bytes().slice(range));
            }
        }
    }
    if !copied.is_empty() {
        out.push(copied.freeze());
    }
    out
}

/// Writes a row as one line. JSON has no raw line break within a string (RFC 8259 section 7), so any is white space
/// between tokens and a space means the same.
fn put_line(out: &mut BytesMut, row: &[u8]) {
    out.extend(row.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.put_u8(b'\n');
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Digest, Entry, NewRow, Row, Timestamp};

    /// An entry of these rows, newest first by construction.
    pub(crate) fn entry(rows: &[&str]) -> Arc<Entry> {
        let new = rows.iter().enumerate().map(|(i, text)| {
            let at = Timestamp::from_micros(-(i64::try_from(i).unwrap()));
            let row = Row {
                id: format!("row-{i}").into(),
                created_at: Some(at),
                updated_at: None,
                status: None,
                bytes: Bytes::copy_from_slice(text.as_bytes()),
            };
            NewRow { row, created_at: at, read_at: at, digest: Digest(i as u128 + 1) }
        });
        Arc::new(Entry::new(&new.collect::<Vec<_>>()))
    }

    /// All of an entry's rows.
    pub(crate) fn whole(rows: &[&str]) -> EntrySlice {
        EntrySlice::select(entry(rows), 0..rows.len(), |_| true).unwrap()
    }

    fn json() -> Framing {
        Framing::Json { head: Bytes::from_static(b"{\"data\":[") }
    }

    fn body(framing: Framing, groups: &[&[EntrySlice]]) -> Vec<u8> {
        let mut framer = Framer::new(framing);
        let mut out = framer.framing().begin().to_vec();
        for group in groups {
            framer.page(group).iter().for_each(|chunk| out.extend_from_slice(chunk));
        }
        out.extend_from_slice(&framer.framing().finish(Bytes::new()));
        out
    }

    #[test]
    fn a_document_has_commas_between_rows_only() {
        let (one, two) = (whole(&["{}", "[1]"]), whole(&["{\"a\":1}"]));
        assert_eq!(body(json(), &[&[one], &[two]]), b"{\"data\":[{},[1],{\"a\":1}]}");
        assert_eq!(body(json(), &[]), b"{\"data\":[]}");
    }

    #[test]
    fn long_runs_of_lines_are_not_copied() {
        let text = format!("\"{}\"", "x".repeat(COPY_BELOW));
        let slice = whole(&[&text, &text]);
        let chunks = lines(std::slice::from_ref(&slice));
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].as_ptr(), slice.entry.bytes().as_ptr());
    }

    #[test]
    fn a_row_over_several_lines_becomes_one() {
        let slice = whole(&["{\r\n \"a\": 1\n}", "{}"]);
        assert_eq!(body(Framing::Ndjson, &[&[slice]]), b"{   \"a\": 1 }\n{}\n");
    }

    proptest! {
        #[test]
        fn the_length_is_known_before_the_rows_are_laid_out(
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
                prop_assert_eq!(body(framing.clone(), &[&slices]).len() as u64, expected);
                let each: Vec<&[EntrySlice]> = slices.iter().map(std::slice::from_ref).collect();
                prop_assert_eq!(body(framing.clone(), &[&slices]), body(framing, &each));
            }
        }
    }
}
