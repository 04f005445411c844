use std::collections::HashSet;
use std::sync::Arc;

use bytes::BufMut;

use super::decoder::{Decoder, length_of};
use super::texts::{NumberedTexts, TextNumbers};
use crate::domain::{
    AgentFacts, BatchFact, Digest, EntryIndex, FilterFacts, IndexRow, RowId, RowIdForm, Span, Status,
};
use crate::store::{EntryKey, ScopeKey};
use crate::tier::{Cell, CellEntry, CellHead, CellSegment, week_of};

/// The size of a row.
const ROW: usize = 77;

/// The size of a segment.
const SEGMENT: usize = 44;

/// The least size of an entry: its number and the lengths of its rows and its totals.
const LEAST_ENTRY: usize = 24;

/// The least size of a head.
const LEAST_HEAD: usize = 20;

/// What a head says about the agent: nothing, facts without a creation date, or facts with one.
const NO_AGENT: u32 = 0;
const UNDATED_AGENT: u32 = 1;
const DATED_AGENT: u32 = 2;

/// The flag in a segment's entry number.
const IS_PROVISIONAL: u32 = 1 << 31;

const IS_DATED: u8 = 1;
const HAS_TEXT_ID: u8 = 2;
const IN_NO_BATCH: u8 = 4;
const KNOWS_VOICE_MAIL: u8 = 8;
const HAS_VOICE_MAIL: u8 = 16;
const IS_DOUBTED: u8 = 32;
const ALL_FLAGS: u8 = IS_DATED | HAS_TEXT_ID | IN_NO_BATCH | KNOWS_VOICE_MAIL | HAS_VOICE_MAIL | IS_DOUBTED;

/// Encodes a cell.
pub fn encode_cell(cell: &Cell) -> Vec<u8> {
    let mut texts = TextNumbers::default();
    let mut entries = Vec::new();
    for entry in &cell.entries {
        entries.put_u128_le(entry.key.number);
        entries.put_u32_le(length_of(entry.index.len()));
        entry.index.rows().iter().for_each(|row| put_row(&row.to_index_row(), &mut texts, &mut entries));
        // No totals.
        entries.put_u32_le(0);
    }
    let mut out = Vec::with_capacity(64 + entries.len() + SEGMENT * cell.segments.len());
    out.put_i64_le(cell.week);
    texts.put(&mut out);
    out.put_u32_le(length_of(cell.entries.len()));
    out.append(&mut entries);
    out.put_u32_le(length_of(cell.segments.len()));
    cell.segments.iter().for_each(|segment| put_segment(segment, &mut out));
    out.put_u32_le(cell.head.is_some().into());
    if let Some(head) = &cell.head {
        [head.to, head.read_at].iter().for_each(|instant| out.put_i64_le(instant.as_micros()));
        match head.agent {
            None => out.put_u32_le(NO_AGENT),
            Some(AgentFacts { created_at: None }) => out.put_u32_le(UNDATED_AGENT),
            Some(AgentFacts { created_at: Some(at) }) => {
                out.put_u32_le(DATED_AGENT);
                out.put_i64_le(at.as_micros());
            }
        }
    }
    out
}

/// Decodes a cell of a scope; `None` if the record is not a valid cell.
pub fn decode_cell(record: &[u8], scope: ScopeKey) -> Option<Cell> {
    let mut record = Decoder::new(record);
    let week = record.i64()?;
    let texts = NumberedTexts::read(&mut record)?;
    let entries = record.list(LEAST_ENTRY, |record| read_entry(record, &texts, scope))?;
    let segments = record.list(SEGMENT, |record| read_segment(record, week, &entries))?;
    let heads = record.list(LEAST_HEAD, read_head)?;
    record.end()?;
    let head = match heads[..] {
        [] => None,
        [head] if week_of(head.to) == week => Some(head),
        _ => return None,
    };
    let mut keys = HashSet::with_capacity(entries.len());
    let has_each_key_once = entries.iter().all(|entry| keys.insert(entry.key));
    let is_newest_first = segments.is_sorted_by(|newer, older| newer.span.from() > older.span.to());
    (has_each_key_once && is_newest_first).then_some(Cell { week, segments, entries, head })
}

fn read_entry(record: &mut Decoder<'_>, texts: &NumberedTexts, scope: ScopeKey) -> Option<CellEntry> {
    let key = EntryKey { scope, number: record.u128()? };
    let rows = record.list(ROW, |record| read_row(record, texts))?;
    let _totals = record.section()?;
    Some(CellEntry { key, index: Arc::new(EntryIndex::from_rows(rows)?) })
}

fn put_row(row: &IndexRow, texts: &mut TextNumbers, out: &mut Vec<u8>) {
    let facts = &row.facts;
    let (batch, is_in_none) = match &facts.batch_id {
        BatchFact::In(batch) => (Some(batch), false),
        BatchFact::None => (None, true),
        BatchFact::Unknown => (None, false),
    };
    let flags = [
        (IS_DATED, row.is_dated),
        (IS_DOUBTED, row.is_doubted),
        (HAS_TEXT_ID, matches!(row.id.form(), RowIdForm::Text(_))),
        (IN_NO_BATCH, is_in_none),
        (KNOWS_VOICE_MAIL, facts.answered_by_voice_mail.is_some()),
        (HAS_VOICE_MAIL, facts.answered_by_voice_mail == Some(true)),
    ];
    match row.id.form() {
        RowIdForm::Uuid(uuid) => out.put_slice(uuid),
        RowIdForm::Text(text) => out.put_u128_le(texts.number(text).into()),
    }
    out.put_u128_le(row.digest.0);
    for instant in [row.created_at, row.changed_at, row.read_at] {
        out.put_i64_le(instant.as_micros());
    }
    out.put_u32_le(row.length);
    out.put_u32_le(row.status.as_ref().map_or(0, |status| texts.number(status.as_str())));
    for text in [facts.call_type.as_ref(), facts.provider.as_ref(), batch] {
        out.put_u32_le(texts.number_if(text));
    }
    out.put_u8(flags.iter().filter(|(_, is_set)| *is_set).fold(0, |flags, (flag, _)| flags | flag));
}

fn read_row(record: &mut Decoder<'_>, texts: &NumberedTexts) -> Option<IndexRow> {
    let id = record.array()?;
    let digest = Digest(record.u128()?);
    let (created_at, changed_at, read_at) = (record.instant()?, record.instant()?, record.instant()?);
    let length = record.u32()?;
    let status = texts.get_if(record.u32()?)?.map(Status::of_shared);
    let call_type = texts.get_if(record.u32()?)?;
    let provider = texts.get_if(record.u32()?)?;
    let batch = texts.get_if(record.u32()?)?;
    let flags = record.u8()?;
    let has = |flag| flags & flag != 0;
    let batch_id = match batch {
        Some(_) if has(IN_NO_BATCH) => return None,
        Some(batch) => BatchFact::In(batch),
        None if has(IN_NO_BATCH) => BatchFact::None,
        None => BatchFact::Unknown,
    };
    if flags & !ALL_FLAGS != 0 || (has(HAS_VOICE_MAIL) && !has(KNOWS_VOICE_MAIL)) {
        return None;
    }
    let id =
        if has(HAS_TEXT_ID) { RowId::new(texts.get(u128::from_le_bytes(id))?) } else { RowId::of_uuid(id) };
    let answered_by_voice_mail = has(KNOWS_VOICE_MAIL).then(|| has(HAS_VOICE_MAIL));
    let facts = FilterFacts { call_type, provider, batch_id, answered_by_voice_mail };
    let (is_dated, is_doubted) = (has(IS_DATED), has(IS_DOUBTED));
    Some(IndexRow {
        id,
        created_at,
        is_dated,
        changed_at,
        read_at,
        is_doubted,
        status,
        facts,
        digest,
        length,
    })
}

fn put_segment(segment: &CellSegment, out: &mut Vec<u8>) {
    let instants = [segment.span.from(), segment.span.to(), segment.read_at, segment.latest_read_at];
    instants.iter().for_each(|instant| out.put_i64_le(instant.as_micros()));
    let (entry, rows) = segment.rows.as_ref().map_or((0, 0..0), |(entry, rows)| (entry + 1, rows.clone()));
    let flag = if segment.is_provisional { IS_PROVISIONAL } else { 0 };
    out.put_u32_le(length_of(entry) | flag);
    [rows.start, rows.end].iter().for_each(|&number| out.put_u32_le(length_of(number)));
}

fn read_head(record: &mut Decoder<'_>) -> Option<CellHead> {
    let (to, read_at) = (record.instant()?, record.instant()?);
    let agent = match record.u32()? {
        NO_AGENT => None,
        UNDATED_AGENT => Some(AgentFacts { created_at: None }),
        DATED_AGENT => Some(AgentFacts { created_at: Some(record.instant()?) }),
        _ => return None,
    };
    Some(CellHead { to, read_at, agent })
}

fn read_segment(record: &mut Decoder<'_>, week: i64, entries: &[CellEntry]) -> Option<CellSegment> {
    let span = Span::new(record.instant()?, record.instant()?)?;
    let (read_at, latest_read_at) = (record.instant()?, record.instant()?);
    let entry = record.u32()?;
    let is_provisional = entry & IS_PROVISIONAL != 0;
    let entry = usize::try_from(entry & !IS_PROVISIONAL).ok()?;
    let mut number = || usize::try_from(record.u32()?).ok();
    let rows = number()?..number()?;
    if week_of(span.from()) != week || week_of(span.to()) != week || read_at > latest_read_at {
        return None;
    }
    let Some(entry) = entry.checked_sub(1) else {
        let segment = CellSegment { span, read_at, latest_read_at, is_provisional, rows: None };
        return (rows == (0..0)).then_some(segment);
    };
    let all = entries.get(entry)?.index.rows();
    // Rows are sorted, so those between the first and the last are within the span if these are.
    let is_within = |row| all.get(row).is_some_and(|row| span.contains(row.created_at));
    let are_within = !rows.is_empty() && is_within(rows.start) && is_within(rows.end - 1);
    are_within.then_some(CellSegment {
        span,
        read_at,
        latest_read_at,
        is_provisional,
        rows: Some((entry, rows)),
    })
}
