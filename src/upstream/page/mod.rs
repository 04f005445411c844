//! Parses a page's body into rows. Only [`fields`] knows upstream's field names.
//!
//! Rows stay upstream's bytes. A row is a slice of the body, found by the position of the parser's borrowed
//! text, and is never rewritten, so numbers, escapes, the order of keys and duplicate keys survive. The four
//! values that fanfold uses are read from the same text. Of a duplicate key the last value counts, as in
//! other JSON parsers.
//!
//! If an envelope lacks what its contract promises, the assumption errs toward one more request, never toward
//! an end that upstream did not announce. A body that may be an error in the shape of a page is not a page: a
//! body that says nothing about its rows must not become a history without rows.

mod fields;

use bytes::Bytes;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::domain::{
    AgentFacts, AgentId, BatchFact, FilterFacts, MAX_PAGE_SIZE, Page, Rounding, Row, RowId, Status,
    Timestamp, WordTable,
};
use crate::source::RelayedPage;

use super::depth;
use super::mismatch::{Compared, Expectation, Mismatch};
use fields::{
    Child, ChildrenVisitor, Data, Envelope, EnvelopeVisitor, MAX_ROWS, RowFields, RowVisitor,
    TelephonyFields, TelephonyVisitor,
};

/// The longest accepted `id`; upstream's have 36 bytes, in old rows some 70.
const LONGEST_ID: usize = 1024;

/// The longest text that a filter could name: a batch in its longest spelling has 45 bytes, a provider at
/// most 64.
const LONGEST_WORD: usize = 64;

/// What is wrong with a body, without any of its content.
pub type PageFault = String;

/// Parses a page's body into rows, which are slices of the body. `number` is its page number, where known.
///
/// # Errors
/// Why the body is not a page.
pub fn parse(body: &Bytes, number: Option<u32>) -> Result<Page, PageFault> {
    compared(body, &Expectation { number, ..Expectation::default() }).map(|compared| compared.response)
}

/// Parses a page's body into rows, and compares it with the request.
///
/// # Errors
/// Why the body is not a page.
pub(super) fn compared(body: &Bytes, asked: &Expectation) -> Result<Compared<Page>, PageFault> {
    let place =
        PagePosition { number: asked.number, size: asked.size.map_or(MAX_PAGE_SIZE, |size| size as usize) };
    let text = json_text(body)?;
    let Envelope { data, has_more, total, number: told, agent_id, speaks, is_error } =
        read(text, EnvelopeVisitor)?;
    let says_nothing_of_rows = match &data {
        Data::Rows(raws) => raws.is_empty() && has_more.is_none() && total.is_none(),
        Data::Null | Data::Absent | Data::Other => true,
        Data::TooMany => false,
    };
    if is_error || (speaks && says_nothing_of_rows) {
        return Err("an error with a success status".to_owned());
    }
    let raws = match data {
        Data::Rows(raws) => raws,
        // `null` where rows are promised is not an empty list.
        Data::Null if has_more.is_some_and(|m| m.get() == "true") || place.is_short_of(total, 0) => {
            return Err("data is null although there are rows".to_owned());
        }
        Data::Null => Vec::new(),
        Data::Absent => return Err("an object without data".to_owned()),
        Data::TooMany => return Err(format!("more than {MAX_ROWS} rows")),
        Data::Other => return Err("data is neither an array nor null".to_owned()),
    };
    let mut is_of_another = agent_id.is_some_and(|agent| is_another(agent, asked));
    let mut words = WordTable::default();
    let rows = raws.iter().map(|raw| {
        let fields = fields_of(raw)?;
        is_of_another |= fields.agent_id.is_some_and(|agent| is_another(agent, asked));
        row(body, raw, &fields, &mut words)
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let flag = match has_more.map(RawValue::get) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        None | Some("null") => None,
        Some(_) => return Err("has_more is neither true nor false".to_owned()),
    };
    let mismatches = asked.mismatches(told, is_of_another, &rows);
    let has_more = flag.unwrap_or_else(|| place.may_have_more(rows.len(), total));
    let page = Page { rows, has_more, has_flag: flag.is_some(), total };
    Ok(Compared { response: page, mismatches })
}

/// Which page of a list was requested.
#[derive(Clone, Copy)]
struct PagePosition {
    number: Option<u32>,
    size: usize,
}

impl PagePosition {
    /// Whether more rows may follow a page that does not say so.
    ///
    /// A full page is never taken for the last, nor is a page that leaves `total` unreached. An empty page is
    /// the end nevertheless: `total` may count rows that the filters exclude, and would prolong the walk for
    /// nothing.
    fn may_have_more(self, rows: usize, total: Option<u64>) -> bool {
        rows >= self.size || (rows > 0 && self.number.is_some() && self.is_short_of(total, rows))
    }

    /// Whether `total` says that rows follow this page.
    fn is_short_of(self, total: Option<u64>, rows: usize) -> bool {
        let before = self.number.map_or(0, |n| u64::from(n.saturating_sub(1)) * self.size as u64);
        total.is_some_and(|total| before.saturating_add(rows as u64) < total)
    }
}

/// Accepts a body that is sent to the client unchanged, with the rows that can be parsed from it.
///
/// JSON that is not a page is accepted: upstream may have more forms of responses than fanfold knows. It is
/// not accepted if it names another agent where a row would.
///
/// # Errors
/// The body is not a JSON document: another server responded instead of upstream, or the response was
/// truncated in a way that only its text shows.
pub(super) fn relay(body: Bytes, asked: &Expectation) -> Result<Compared<RelayedPage>, PageFault> {
    match compared(&body, asked) {
        Ok(page) => Ok(page.map(|page| RelayedPage { page: Some(page), body })),
        Err(fault) => {
            let text = json_text(&body)?;
            let names_another = names_another(text, asked, NAMED_WITHIN).map_err(|_| fault)?;
            let mismatches = names_another.then_some(Mismatch::Agent).into_iter().collect();
            Ok(Compared { response: RelayedPage { page: None, body }, mismatches })
        }
    }
}

/// How deep an `agent_id` is searched for in a body that is not a page: a document, a member, a list in it, a
/// row.
const NAMED_WITHIN: u8 = 4;

/// Whether an object within the first levels of a document has another agent's `agent_id`.
fn names_another(json: &str, asked: &Expectation, levels: u8) -> Result<bool, PageFault> {
    for child in read(json, ChildrenVisitor)? {
        let is_named = match child {
            Child::AgentId(agent) => is_another(agent, asked),
            Child::Other(raw) if levels > 1 && raw.get().starts_with(['{', '[']) => {
                names_another(raw.get(), asked, levels - 1)?
            }
            Child::Other(_) => false,
        };
        if is_named {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the value of an `agent_id` names an agent other than the one asked for.
fn is_another(raw: &RawValue, asked: &Expectation) -> bool {
    match text_of(raw) {
        Some(text) => asked.is_another(&text),
        None => raw.get() != "null" && asked.agent.is_some(),
    }
}

/// Parses an agent: only `created_at`, and whether it is the agent that was requested.
///
/// # Errors
/// Why the body is not an agent.
pub(super) fn parse_agent(body: &Bytes, asked: &Expectation) -> Result<Compared<AgentFacts>, PageFault> {
    let text = json_text(body)?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err("not an object".to_owned());
    }
    let fields = read(text, RowVisitor)?;
    let is_another = match fields.id {
        Some(id) => is_another(id, asked),
        // Accepting a page here would accept a key that upstream has not checked.
        None => fields.data.is_some(),
    };
    let mismatches = is_another.then_some(Mismatch::Agent).into_iter().collect();
    Ok(Compared { response: AgentFacts { created_at: instant(fields.created_at) }, mismatches })
}

/// Reads the list of agents, which is a bare array.
///
/// One unreadable agent makes the list unusable, because an agent that is left out would seem not to exist.
///
/// # Errors
/// Why the body is not a list of agents.
pub(super) fn parse_agents(body: &Bytes) -> Result<Compared<Vec<(AgentId, AgentFacts)>>, PageFault> {
    let text = json_text(body)?;
    if !text.trim_ascii_start().starts_with('[') {
        return Err("not an array".to_owned());
    }
    let Data::Rows(raws) = read(text, EnvelopeVisitor)?.data else {
        return Err(format!("more than {MAX_ROWS} agents"));
    };
    let agent = |raw: &&RawValue| {
        if !raw.get().starts_with('{') {
            return Err("an agent that is no object".to_owned());
        }
        let fields = read(raw.get(), RowVisitor)?;
        let id = fields.id.and_then(text_of).and_then(|id| id.parse().ok());
        let facts = AgentFacts { created_at: instant(fields.created_at) };
        Ok((id.ok_or_else(|| "an agent without a usable id".to_owned())?, facts))
    };
    let agents = raws.iter().map(agent).collect::<Result<_, _>>()?;
    Ok(Compared { response: agents, mismatches: Vec::new() })
}

/// Checks that a body is a user: any object, whose fields don't matter.
pub(super) fn parse_user(body: &Bytes) -> Result<Compared<()>, PageFault> {
    if json_text(body)?.trim_ascii_start().starts_with('{') {
        Ok(Compared { response: (), mismatches: Vec::new() })
    } else {
        Err("not an object".to_owned())
    }
}

/// The body as text that may be JSON, without the byte order mark that some servers write in front of it.
fn json_text(body: &Bytes) -> Result<&str, PageFault> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| "not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_ascii_start().bytes().next() {
        None => Err("empty".to_owned()),
        Some(b'{' | b'[') if depth::is_too_deep(body) => {
            Err(format!("nested deeper than {} levels", depth::MOST))
        }
        Some(b'{' | b'[') => Ok(text),
        Some(b'<') => Err("markup, not JSON".to_owned()),
        Some(_) => Err("neither an object nor an array".to_owned()),
    }
}

fn read<'a, V: Visitor<'a>>(text: &'a str, visitor: V) -> Result<V::Value, PageFault> {
    let mut json = serde_json::Deserializer::from_str(text);
    // Only the position is reported: a parser's message may quote what it read.
    let fault = |e: &serde_json::Error| {
        if e.is_eof() {
            "cut off".to_owned()
        } else {
            format!("not JSON as expected, at line {} column {}", e.line(), e.column())
        }
    };
    let value = (&mut json).deserialize_any(visitor).map_err(|e| fault(&e))?;
    json.end().map_err(|e| fault(&e))?;
    Ok(value)
}

/// Parses the values that are read from a row.
fn fields_of(raw: &RawValue) -> Result<RowFields<'_>, PageFault> {
    let raw = raw.get();
    if !raw.starts_with('{') {
        return Err("a row that is not an object".to_owned());
    }
    read(raw, RowVisitor)
}

/// A row, as a slice of its page's body.
fn row(
    body: &Bytes,
    raw: &RawValue,
    fields: &RowFields<'_>,
    words: &mut WordTable,
) -> Result<Row, PageFault> {
    let raw = raw.get();
    let id = fields.id.and_then(id_of).filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    let start = raw.as_ptr().addr() - body.as_ptr().addr();
    let status = fields.status.and_then(text_of).filter(|status| !status.is_empty());
    Ok(Row {
        id: RowId::new(&id.ok_or_else(|| "a row without a usable id".to_owned())?),
        created_at: instant(fields.created_at),
        updated_at: instant(fields.updated_at),
        status: status.map(|status| Status::of_shared(words.word(&status))),
        facts: facts(fields, words),
        bytes: body.slice(start..start + raw.len()),
    })
}

/// The facts of a row that filters test. A value that has the wrong type or is too long to be a word is
/// unknown.
fn facts(fields: &RowFields<'_>, words: &mut WordTable) -> FilterFacts {
    let telephony = fields.telephony.filter(|telephony| telephony.get().starts_with('{'));
    let telephony = telephony.and_then(|telephony| read(telephony.get(), TelephonyVisitor).ok());
    let TelephonyFields { call_type, provider } = telephony.unwrap_or_default();
    let mut word = |raw: Option<&RawValue>| {
        let text = raw.and_then(text_of).filter(|text| text.len() <= LONGEST_WORD)?;
        Some(words.word(&text))
    };
    FilterFacts {
        call_type: word(call_type),
        provider: word(provider),
        batch_id: match fields.batch_id {
            Some(batch) if batch.get() == "null" => BatchFact::None,
            batch => word(batch).map_or(BatchFact::Unknown, BatchFact::In),
        },
        answered_by_voice_mail: match fields.voice_mail.map(RawValue::get) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        },
    }
}

/// A value that may be an id. Text with half of a surrogate pair is valid JSON but not Unicode: its id is the
/// literal.
fn id_of(raw: &RawValue) -> Option<String> {
    text_of(raw).or_else(|| raw.get().starts_with('"').then(|| raw.get().to_owned()))
}

/// The text of a string; `None` for any other value.
fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The instant in a value. Rows have whole microseconds, so the rounding of finer values hardly matters.
fn instant(raw: Option<&RawValue>) -> Option<Timestamp> {
    Timestamp::parse(&raw.and_then(text_of)?, Rounding::Down)
}

#[cfg(test)]
mod tests;
