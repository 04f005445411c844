//! The sizes of records with rows like upstream's.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Cell, CellEntry, CellSegment, Entry, NewRow, SCOPE, Separator, assert_same_cell};
use super::{decode_cell, decode_rows, encode_cell, encode_rows, key};
use crate::domain::{Digest, Filters, Span, Timestamp};
use crate::simulator::{AgentPlan, Simulator, SimulatorSettings};
use crate::tier::week_of;
use crate::upstream::parse_page;

/// Entries of fifty simulated rows, as the engine makes them from pages, newest first.
fn entries(count: u32) -> Vec<Entry> {
    let epoch = Timestamp::from_micros((2_960 * 7 * 24 * 3600 - 1) * 1_000_000);
    let plan = AgentPlan {
        executions: 50 * count,
        span: std::time::Duration::from_secs(6 * 86_400),
        ..AgentPlan::default()
    };
    let simulator = Simulator::new(SimulatorSettings {
        epoch: Some(epoch),
        agents: vec![plan],
        ..SimulatorSettings::default()
    });
    let all = simulator.rows_matching(simulator.agents()[0].id, &Filters::default(), None);
    let page = |rows: &[crate::simulator::TrueRow]| {
        let rows: Vec<&[u8]> = rows.iter().map(|row| &row.bytes[..]).collect();
        let body = [&b"{\"data\":["[..], &rows.join(&b','), b"],\"has_more\":false}"].concat();
        let rows = parse_page(&Bytes::from(body), None).unwrap().rows;
        let new = |row: crate::domain::Row| {
            let mut half = [0; 16];
            half.copy_from_slice(&Sha256::digest(&row.bytes)[..16]);
            let digest = Digest(u128::from_be_bytes(half));
            NewRow { created_at: row.created_at.unwrap(), row, read_at: epoch, is_doubted: false, digest }
        };
        Entry::new(&rows.into_iter().map(new).collect::<Vec<_>>())
    };
    let mut rest = &all[..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        // Rows of one instant stay together.
        let is_cut = |at: &usize| *at == rest.len() || rest[*at].created_at < rest[at - 1].created_at;
        let cut = (rest.len().min(50)..=rest.len()).find(is_cut).unwrap();
        entries.push(page(&rest[..cut]));
        rest = &rest[cut..];
    }
    entries
}

/// A cell of these entries, with a segment for each.
fn cell(entries: &[Entry]) -> Cell {
    let at = |entry: &Entry, row| entry.rows().at(row).created_at;
    let segment = |(number, entry): (usize, &Entry)| {
        let span = Span::new(at(entry, entry.rows().len() - 1), at(entry, 0)).unwrap();
        let rows = Some((number, 0..entry.rows().len()));
        CellSegment { span, read_at: span.to(), latest_read_at: span.to(), is_provisional: false, rows }
    };
    let numbered =
        |(number, entry): (u64, &Entry)| CellEntry { key: key(number), index: entry.index().clone() };
    Cell {
        week: week_of(at(&entries[0], 0)),
        segments: entries.iter().enumerate().map(segment).collect(),
        entries: (0..).zip(entries).map(numbered).collect(),
        head: None,
    }
}

#[test]
fn a_row_takes_80_bytes_of_a_cell_and_its_deflated_bytes() {
    let entries = entries(20);
    let cell = cell(&entries);
    let encoded = encode_cell(&cell);
    assert_same_cell(&decode_cell(&encoded, SCOPE).unwrap(), &cell);
    assert!(encoded.len() < 1_000 * 80, "{} bytes", encoded.len());
    for entry in &entries {
        let encoded = encode_rows(entry).unwrap();
        let beyond = encoded.len() - entry.deflated().unwrap().deflated_len();
        assert!(beyond < 40 + 4 * entry.rows().len(), "{beyond} bytes beyond the deflated rows");
        let decoded = decode_rows(&encoded, entry.index()).unwrap();
        assert_eq!(decoded.plain(Separator::Line).unwrap(), entry.plain(Separator::Line).unwrap());
    }
}
