mod sealed;
mod sizes;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::deflate::{Deflated, Separator};
use crate::domain::{
    AgentFacts, BatchFact, Digest, Entry, EntryIndex, FilterFacts, LineBreaks, NewRow, Row, Span, Status,
    Timestamp,
};
use crate::sealed::RecordName;
use crate::store::{EntryKey, ScopeKey};
use crate::tier::{Cell, CellEntry, CellHead, CellSegment};

const SCOPE: ScopeKey = [9; 16];
const WEEK: i64 = 2900;
const HOUR: i64 = 3_600_000_000;
const AGENT: &str = "6f96c9b1-0000-4000-8000-012345678900";

fn at(hour: i64, micros: i64) -> Timestamp {
    Timestamp::from_micros((WEEK * 7 * 24 + hour) * HOUR + micros)
}

/// What a test row is made of, apart from its place.
#[derive(Clone, Debug)]
struct Sketch {
    has_text_id: bool,
    is_dated: bool,
    step: i64,
    status: Option<&'static str>,
    facts: FilterFacts,
    said: String,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let status = prop::sample::select(vec![
        None,
        Some("completed"),
        Some("no-answer"),
        Some("Odd Status\n"),
        Some("अधूरा"),
        Some(""),
    ]);
    let word = || {
        prop::option::of(prop::sample::select(vec!["inbound", "outbound", "twilio", "Plivo ", "", "x\u{0}y"]))
    };
    let batch = prop_oneof![
        Just(BatchFact::Unknown),
        Just(BatchFact::None),
        "[a-c]{1,2}".prop_map(|batch| BatchFact::In(batch.into())),
    ];
    let facts = (word(), word(), batch, any::<Option<bool>>()).prop_map(
        |(call_type, provider, batch_id, answered_by_voice_mail)| FilterFacts {
            call_type: call_type.map(Into::into),
            provider: provider.map(Into::into),
            batch_id,
            answered_by_voice_mail,
        },
    );
    let is_often = prop::bool::weighted(0.8);
    (any::<bool>(), is_often, 0..2_000_000i64, status, facts, "[a-z ]{0,200}").prop_map(
        |(has_text_id, is_dated, step, status, facts, said)| {
            // Some rows have the instant of the row before them.
            Sketch { has_text_id, is_dated, step: (step - 500_000).max(0), status, facts, said }
        },
    )
}

/// Rows of an hour, newest first, each of which begins with `before`.
fn rows(sketches: &[Sketch], hour: i64, before: &str) -> Vec<NewRow> {
    let mut micros = HOUR - 1;
    let mut rows = Vec::new();
    for (number, sketch) in sketches.iter().enumerate() {
        micros -= sketch.step;
        let created_at = at(hour, micros);
        let id = if sketch.has_text_id {
            format!("{AGENT}#{hour}.{number}")
        } else {
            Uuid::from_u128(((hour as u128) << 64) + number as u128).to_string()
        };
        let text = format!("{{{before}\"id\":\"{id}\",\"said\":\"{}\"}}", sketch.said);
        let row = Row {
            id: id.into(),
            created_at: sketch.is_dated.then_some(created_at),
            updated_at: Some(created_at.plus(std::time::Duration::from_secs(number as u64))),
            status: sketch.status.map(Status::new),
            facts: sketch.facts.clone(),
            bytes: text.clone().into(),
        };
        let digest = Digest(u128::from(crc32fast::hash(text.as_bytes())) << 77 | number as u128);
        rows.push(NewRow { row, created_at, read_at: at(200, number as i64), is_doubted: false, digest });
    }
    rows
}

fn key(number: u64) -> EntryKey {
    EntryKey { scope: SCOPE, number: number.into() }
}

/// A cell with an entry for each hour, whose rows are in two segments, and a segment without rows after each.
fn cell(hours: &[Vec<Sketch>]) -> Cell {
    let (mut segments, mut entries) = (Vec::new(), Vec::new());
    for (number, sketches) in hours.iter().enumerate() {
        let hour = 2 * (hours.len() - number) as i64;
        let index = Arc::new(EntryIndex::new(&rows(sketches, hour, "")));
        let mut segment = |span: Span, rows: Option<_>| {
            let (read_at, latest_read_at) = (at(170, 0), at(170, number as i64));
            let is_provisional = number % 3 == 1;
            segments.push(CellSegment { span, read_at, latest_read_at, is_provisional, rows });
        };
        let of_hour = Span::new(at(hour, 0), at(hour, HOUR - 1)).unwrap();
        let middle = index.rows().at(index.len() / 2).created_at;
        let cut = index.rows().not_older_than(middle);
        let in_entry = |rows: std::ops::Range<usize>| (!rows.is_empty()).then_some((number, rows));
        segment(Span::new(middle, of_hour.to()).unwrap(), in_entry(0..cut));
        if let Some(rest) = of_hour.before(middle) {
            segment(rest, in_entry(cut..index.len()));
        }
        segment(Span::new(at(hour - 1, 0), at(hour - 1, HOUR - 1)).unwrap(), None);
        entries.push(CellEntry { key: EntryKey { scope: SCOPE, number: u128::MAX - number as u128 }, index });
    }
    let head = hours.first().map(|_| CellHead {
        to: at(100, 1),
        read_at: at(170, 2),
        agent: [None, Some(AgentFacts { created_at: None }), Some(AgentFacts { created_at: Some(at(3, 4)) })]
            [hours.len() % 3],
    });
    Cell { week: WEEK, segments, entries, head }
}

fn assert_same_index(one: &EntryIndex, other: &EntryIndex) {
    let all = |index: &EntryIndex| index.rows().iter().map(|row| row.to_index_row()).collect::<Vec<_>>();
    assert_eq!(all(one), all(other));
    assert_eq!((one.digest(), one.has_undated()), (other.digest(), other.has_undated()));
}

fn assert_same_cell(one: &Cell, other: &Cell) {
    assert_eq!((one.week, &one.segments), (other.week, &other.segments));
    assert_eq!(one.entries.len(), other.entries.len());
    for (one, other) in one.entries.iter().zip(&other.entries) {
        assert_eq!(one.key, other.key);
        assert_same_index(&one.index, &other.index);
    }
}

fn assert_same_bytes(one: &Entry, other: &Entry) {
    for separator in [Separator::Line, Separator::Comma] {
        assert_eq!(one.plain(separator).unwrap(), other.plain(separator).unwrap());
    }
    let crcs =
        |deflated: &Deflated| [Separator::Line, Separator::Comma].map(|separator| deflated.crc(separator));
    let (first, second) = (one.deflated().unwrap(), other.deflated().unwrap());
    assert_eq!((crcs(&first), first.shift()), (crcs(&second), second.shift()));
    assert_eq!((first.effort(), first.is_sendable()), (second.effort(), second.is_sendable()));
    let length = one.rows().len();
    for run in [0..length, 0..length / 2, length / 3..length].into_iter().filter(|run| !run.is_empty()) {
        let runs = vec![run.clone()];
        let (first, second) = (one.piece(&runs).unwrap(), other.piece(&runs).unwrap());
        assert_eq!(crcs(&first), crcs(&second));
        assert_eq!(first.inflate().unwrap(), second.inflate().unwrap());
        let taken = |entry: &Entry| format!("{:?}", entry.take_rows(run.clone()).unwrap());
        assert_eq!(taken(one), taken(other));
        assert_eq!(one.byte_range(run.clone()), other.byte_range(run.clone()));
    }
    assert_eq!(one.has_line_breaks(), other.has_line_breaks());
    assert_eq!((one.byte_len(), one.has_bytes()), (other.byte_len(), other.has_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_cell_is_the_same_after_a_round_trip(
        hours in prop::collection::vec(prop::collection::vec(sketch(), 1..20), 0..5),
    ) {
        let cell = cell(&hours);
        let encoded = encode_cell(&cell);
        let decoded = decode_cell(&encoded, SCOPE).unwrap();
        assert_same_cell(&decoded, &cell);
        prop_assert_eq!(encode_cell(&decoded), encoded);
    }

    #[test]
    fn an_entry_serves_the_same_bytes_after_a_round_trip(
        sketches in prop::collection::vec(sketch(), 0..40),
        before in prop::sample::select(vec!["", "\n", "\r", " \r\n "]),
        is_squeezed in any::<bool>(),
    ) {
        let entry = Entry::new(&rows(&sketches, 1, before));
        if is_squeezed {
            entry.squeeze().unwrap();
        }
        let encoded = encode_rows(&entry).unwrap();
        let index = decode_cell(&encode_cell(&cell_of(&entry)), SCOPE).unwrap().entries.remove(0).index;
        let decoded = decode_rows(&encoded, &index).unwrap();
        prop_assert!(Arc::ptr_eq(decoded.index(), &index));
        let deflated = [&entry, &decoded].map(|entry| entry.deflated().unwrap());
        prop_assert_eq!(deflated[0].parts(), deflated[1].parts());
        assert_same_bytes(&decoded, &entry);
        // Deflating again may give other bytes for the same rows.
        decoded.squeeze().unwrap();
        entry.squeeze().unwrap();
        assert_same_bytes(&decoded, &entry);
    }

    #[test]
    fn a_damaged_record_is_a_miss_or_decodes_to_a_valid_record(
        sketches in prop::collection::vec(sketch(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let entry = Entry::new(&rows(&sketches, 1, ""));
        let damaged = |mut record: Vec<u8>| {
            for (at, byte) in &damage {
                let at = at.index(record.len());
                record[at] = *byte;
            }
            record
        };
        if let Some(cell) = decode_cell(&damaged(encode_cell(&cell_of(&entry))), SCOPE) {
            assert_same_cell(&decode_cell(&encode_cell(&cell), SCOPE).unwrap(), &cell);
        }
        if let Some(decoded) = decode_rows(&damaged(encode_rows(&entry).unwrap()), entry.index()) {
            let first = std::iter::once(0..1).collect();
            let _ = (decoded.plain(Separator::Comma), decoded.piece(&first));
        }
    }
}

/// A cell with one entry, all of whose rows are in one segment.
fn cell_of(entry: &Entry) -> Cell {
    let rows = (!entry.rows().is_empty()).then(|| (0, 0..entry.rows().len()));
    let span = Span::new(at(1, 0), at(1, HOUR - 1)).unwrap();
    let segment =
        CellSegment { span, read_at: at(200, 0), latest_read_at: at(200, 50), is_provisional: false, rows };
    let index = Arc::clone(entry.index());
    let entries = vec![CellEntry { key: key(3), index }];
    Cell { week: WEEK, segments: vec![segment], entries, head: None }
}

/// An entry with a row for each kind of id.
fn small_entry() -> Entry {
    let sketch = |has_text_id, batch_id| Sketch {
        has_text_id,
        is_dated: true,
        step: 1_000_000,
        status: Some(if has_text_id { "completed" } else { "odd-status" }),
        facts: FilterFacts {
            call_type: Some("outbound".into()),
            provider: Some("some-provider".into()),
            batch_id,
            answered_by_voice_mail: Some(true),
        },
        said: "my number is 98765 43210".to_owned(),
    };
    let batch = BatchFact::In("batch-of-november".into());
    Entry::new(&rows(&[sketch(true, batch), sketch(false, BatchFact::None)], 1, ""))
}

#[test]
fn a_truncated_or_longer_record_is_a_miss() {
    let entry = small_entry();
    let (cell, bytes) = (encode_cell(&cell_of(&entry)), encode_rows(&entry).unwrap());
    assert!((0..cell.len()).all(|length| decode_cell(&cell[..length], SCOPE).is_none()));
    assert!((0..bytes.len()).all(|length| decode_rows(&bytes[..length], entry.index()).is_none()));
    assert!(decode_cell(&[&cell[..], &[0]].concat(), SCOPE).is_none());
    assert!(decode_rows(&[&bytes[..], &[0]].concat(), entry.index()).is_none());
}

#[test]
fn bytes_fit_the_index_of_the_same_rows_read_again_and_no_other() {
    let entry = small_entry();
    let encoded = encode_rows(&entry).unwrap();
    let later = entry.index().changed(0..2, |_| crate::domain::RowChange::Doubted);
    assert!(decode_rows(&encoded, &Arc::new(later)).is_some());
    let first = entry.index().changed(0..1, |_| crate::domain::RowChange::None);
    assert!(decode_rows(&encoded, &Arc::new(first)).is_none());
    let mut others = entry.take_rows(0..2).unwrap();
    others[1].digest = Digest(others[1].digest.0 ^ 1);
    assert!(decode_rows(&encoded, Entry::new(&others).index()).is_none());
}

#[test]
fn rows_without_bytes_and_rewritten_rows_are_not_encoded() {
    let entry = small_entry();
    assert!(encode_rows(&Entry::without_bytes(entry.index())).is_err());
    let shorter = entry.rewritten(LineBreaks::BetweenTokens, |row, out| {
        out.extend_from_slice(&row[..5]);
        Ok(())
    });
    assert!(encode_rows(&shorter.unwrap()).is_err());
}

#[test]
fn a_cell_that_breaks_a_rule_is_a_miss() {
    let decoded = |change: &dyn Fn(&mut Cell)| {
        let mut cell = cell_of(&small_entry());
        change(&mut cell);
        decode_cell(&encode_cell(&cell), SCOPE).is_some()
    };
    let span = |from, to| Span::new(from, to).unwrap();
    assert!(decoded(&|_| ()));
    assert!(!decoded(&|cell| cell.week += 1));
    assert!(!decoded(&|cell| cell.segments[0].span = span(at(1, 0), at(169, 0))));
    assert!(!decoded(&|cell| cell.segments[0].span = span(at(1, 0), at(1, HOUR / 2))));
    assert!(!decoded(&|cell| cell.segments[0].read_at = at(201, 0)));
    assert!(!decoded(&|cell| cell.segments[0].rows = Some((1, 0..1))));
    assert!(!decoded(&|cell| cell.segments[0].rows = Some((0, 0..3))));
    assert!(!decoded(&|cell| cell.segments[0].rows = Some((0, 1..1))));
    assert!(!decoded(&|cell| cell.segments.push(cell.segments[0].clone())));
    assert!(!decoded(&|cell| cell.entries.push(cell.entries[0].clone())));
    assert!(!decoded(&|cell| {
        let older = CellSegment { span: span(at(0, 0), at(0, 1)), rows: None, ..cell.segments[0].clone() };
        cell.segments.insert(0, older);
    }));
}

#[test]
fn rows_out_of_order_or_twice_in_an_entry_are_a_miss() {
    let rows: Vec<_> = small_entry().rows().iter().map(|row| row.to_index_row()).collect();
    assert!(EntryIndex::from_rows(rows.clone()).is_some());
    let reversed = rows.iter().rev().cloned().collect();
    assert!(EntryIndex::from_rows(reversed).is_none());
    assert!(EntryIndex::from_rows(vec![rows[0].clone(), rows[0].clone()]).is_none());
}

#[test]
fn totals_that_a_later_version_writes_are_skipped() {
    let entry = small_entry();
    let (cell, totals) = (cell_of(&entry), b"totals of a later version");
    let plain = encode_cell(&cell);
    // The totals precede the lists of one segment and of no head.
    let before = plain.len() - 44 - 4 - 4 - 4;
    let length = (totals.len() as u32).to_le_bytes();
    let later = [&plain[..before], &length, &totals[..], &plain[before + 4..]].concat();
    assert_same_cell(&decode_cell(&later, SCOPE).unwrap(), &cell);
}

#[test]
fn decoded_rows_share_the_words_that_upstream_documents() {
    let entry = small_entry();
    let decoded = decode_cell(&encode_cell(&cell_of(&entry)), SCOPE).unwrap();
    let row = decoded.entries[0].index.rows().at(0).to_index_row();
    let shared = Status::new("completed");
    assert!(std::ptr::eq(row.status.unwrap().as_str(), shared.as_str()));
    assert_eq!(decoded.entries[0].index.weight(), entry.index().weight());
}

#[test]
fn an_index_with_many_words_is_the_same_after_a_round_trip() {
    let sketches: Vec<_> = (0..300)
        .map(|number| Sketch {
            has_text_id: false,
            is_dated: true,
            step: 1,
            status: Some("completed"),
            facts: FilterFacts {
                batch_id: BatchFact::In(format!("{}", number % 100).into()),
                ..FilterFacts::default()
            },
            said: String::new(),
        })
        .collect();
    let cell = cell_of(&Entry::new(&rows(&sketches, 1, "")));
    assert_same_cell(&decode_cell(&encode_cell(&cell), SCOPE).unwrap(), &cell);
}

#[test]
fn marks_are_the_same_after_a_round_trip_and_other_records_are_refused() {
    let mark = |byte, micros| (RecordName::from_bytes([byte; 16]), Timestamp::from_micros(micros));
    let marks = HashMap::from([mark(1, 5), mark(2, -5), mark(3, 1_795_000_000_000_000)]);
    let encoded = encode_marks(&marks);
    assert_eq!(decode_marks(&encoded), Some(marks));
    assert_eq!(decode_marks(&encode_marks(&HashMap::new())), Some(HashMap::new()));
    assert!((0..encoded.len()).all(|length| decode_marks(&encoded[..length]).is_none()));
    assert_eq!(decode_marks(&[&encoded[..], &[0]].concat()), None);
}
