//! Functions that decode any bytes as a record and assert what must hold for the result.
//!
//! `fuzz/` calls them with generated inputs; a test replays stored inputs.

use std::sync::{Arc, LazyLock};

use super::format::{decode_cell, decode_rows, encode_cell, encode_rows};
use crate::deflate::Separator;
use crate::domain::{Digest, Entry, EntryIndex, FilterFacts, NewRow, Row, Timestamp};

/// Decodes a cell, without its seal.
pub fn cell(data: &[u8]) {
    let Some(cell) = decode_cell(data, [7; 16]) else { return };
    let encoded = encode_cell(&cell);
    let again = decode_cell(&encoded, [7; 16]).expect("an encoded cell decodes");
    assert_eq!(encode_cell(&again), encoded, "a round trip changes nothing");
    assert_eq!(again.segments, cell.segments);
    for segment in &cell.segments {
        let Some((entry, rows)) = segment.rows.clone() else { continue };
        let rows = cell.entries[entry].index.rows().slice(rows);
        assert!(
            rows.iter().all(|row| segment.span.contains(row.created_at)),
            "rows are within their segment"
        );
    }
}

/// The entry of three rows that the stored inputs are made from.
static ENTRY: LazyLock<Entry> = LazyLock::new(|| {
    let rows: Vec<_> = ["{\"id\":\"c\"}", "{\"id\":\"b\"}", "{\"id\":\"a\"}"]
        .into_iter()
        .map(|text| {
            let created_at = Timestamp::from_micros(0);
            let row = Row {
                id: text[7..8].into(),
                created_at: Some(created_at),
                updated_at: None,
                status: None,
                facts: FilterFacts::default(),
                bytes: text.into(),
            };
            NewRow { row, created_at, read_at: created_at, is_doubted: false, digest: Digest(1) }
        })
        .collect();
    Entry::new(&rows)
});

/// Decodes the bytes of an entry, without their seal.
pub fn rows(data: &[u8]) {
    let index: &Arc<EntryIndex> = ENTRY.index();
    let Some(entry) = decode_rows(data, index) else { return };
    assert_eq!(encode_rows(&entry).ok().as_deref(), Some(data), "a record has one encoding");
    for separator in [Separator::Line, Separator::Comma] {
        if let Ok(plain) = entry.plain(separator) {
            assert_eq!(plain.len(), index.byte_len());
        }
    }
    if let Ok(rows) = entry.take_rows(0..index.len()) {
        assert!(rows.iter().zip(index.rows().iter()).all(|(new, row)| new.row.bytes.len() == row.byte_len()));
    }
    let runs = std::iter::once(1..3).collect();
    let _ = (entry.piece(&runs), entry.squeeze());
}

#[cfg(test)]
mod tests {
    /// Another implementation wrote the stored records, following the description of the formats.
    #[test]
    fn stored_records_decode_as_the_formats_say() {
        let read = |path: &str| {
            std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(path))
                .unwrap()
        };
        let cells = ["small", "totals", "empty", "cut", "outside"]
            .map(|name| super::decode_cell(&read(&format!("tier_cell/{name}")), [7; 16]).is_some());
        assert_eq!(cells, [true, true, true, false, false]);
        let rows = ["small", "squeezed", "unsendable", "long", "cut"].map(|name| {
            let entry = super::decode_rows(&read(&format!("tier_rows/{name}")), super::ENTRY.index())?;
            Some(entry.plain(super::Separator::Line).unwrap())
        });
        let expected = super::ENTRY.plain(super::Separator::Line).ok();
        assert_eq!(rows, [expected.clone(), expected.clone(), expected, None, None]);
        let encoded = super::encode_cell(&super::decode_cell(&read("tier_cell/small"), [7; 16]).unwrap());
        assert_eq!(encoded.len(), read("tier_cell/small").len());
    }
}
