//! Rows as a table: RFC 4180, with CRLF, and a header line whose names are always in quotes.
//!
//! No cell is altered. The quotes of the header matter to readers such as DuckDB, which decide from the first
//! rows whether a file uses quotes at all.

use std::borrow::Cow;

use super::extract::{Extractor, NotARow};
use super::fields::{AGENT_ID, Column, Fields};
use super::{form_digest, text};
use crate::domain::AgentId;

/// The default columns of a table: all scalar values. Transcripts and latencies are left out.
pub const DEFAULT_COLUMNS: &str = "id,status,created_at,updated_at,initiated_at,conversation_duration,total_cost,\
     cost_breakdown.llm,cost_breakdown.network,cost_breakdown.platform,cost_breakdown.synthesizer,\
     cost_breakdown.transcriber,user_number,agent_number,batch_id,retry_count,answered_by_voice_mail,error_message,\
     telephony_data.call_type,telephony_data.provider,telephony_data.to_number,telephony_data.from_number,\
     telephony_data.hangup_by,telephony_data.hangup_reason,telephony_data.hangup_provider_code,\
     telephony_data.ring_duration,telephony_data.duration,telephony_data.recording_url";

/// The columns of a table, and how to find their cells.
#[derive(Clone, Debug)]
pub struct Table {
    /// Names and slots; the agent's id has no slot.
    columns: Vec<(String, Option<usize>)>,
    extractor: Extractor,
}

impl Table {
    /// The table with these columns.
    pub fn new(fields: &Fields) -> Self {
        let paths = fields.columns().iter().filter_map(Column::path);
        let extractor = Extractor::new(paths);
        let column = |column: &Column| {
            (column.given().to_owned(), column.path().and_then(|path| extractor.slot(path)))
        };
        Self { columns: fields.columns().iter().map(column).collect(), extractor }
    }

    /// The same table with the agent's id as its first column, unless it has that column.
    #[must_use]
    pub fn with_agent_id(mut self) -> Self {
        if self.columns.iter().all(|(_, slot)| slot.is_some()) {
            self.columns.insert(0, (AGENT_ID.to_owned(), None));
        }
        self
    }

    /// The names of the columns: as in the list, with the quotes that a key had there, so that no two are alike.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The short digest of the columns for an ETag. It differs from that of the same fields as JSON, because
    /// browsers revalidate one with the other's validator if only `Accept` differs.
    pub fn form(&self) -> String {
        form_digest(&format!("csv={}", self.names().collect::<Vec<_>>().join(",")))
    }

    /// Writes the header line.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        write_record(self.names().map(CsvCell::quoted), out);
    }

    /// Writes a row's line.
    ///
    /// # Errors
    /// If the row is not a JSON object; nothing is written then.
    pub fn write_row(&self, row: &[u8], agent: AgentId, out: &mut Vec<u8>) -> Result<(), NotARow> {
        let values = self.values(row, agent)?;
        write_record(values.iter().map(|value| CsvCell::of(value.as_deref())), out);
        Ok(())
    }

    /// The values of a row's cells as JSON, in the order of the columns.
    ///
    /// # Errors
    /// If the row is not a JSON object.
    pub fn values<'a>(&self, row: &'a [u8], agent: AgentId) -> Result<Vec<Option<Cow<'a, str>>>, NotARow> {
        let found = self.extractor.extract(row)?;
        let value = |(_, slot): &(String, Option<usize>)| match slot {
            Some(slot) => found[*slot].map(Cow::Borrowed),
            None => Some(Cow::Owned(format!("\"{agent}\""))),
        };
        Ok(self.columns.iter().map(value).collect())
    }
}

/// The content of a cell.
pub(super) enum CsvCell<'a> {
    /// Nothing: null, or absent.
    Empty,
    /// Text that is put in quotes only where it must be.
    Plain(Cow<'a, str>),
    /// Text that is always in quotes.
    Quoted(Cow<'a, str>),
}

impl<'a> CsvCell<'a> {
    pub(super) const fn quoted(text: &'a str) -> Self {
        Self::Quoted(Cow::Borrowed(text))
    }

    /// A JSON value: a string is its text, anything else its literal; a string that can't be decoded is its literal too.
    pub(super) fn of(value: Option<&'a str>) -> Self {
        match value {
            None | Some("null") => Self::Empty,
            Some(value) => Self::Plain(cell_text(value)),
        }
    }
}

/// The text of a value's cell, as it stands in the table before quoting.
pub(super) fn cell_text(value: &str) -> Cow<'_, str> {
    text::of_string(value).unwrap_or(Cow::Borrowed(value))
}

/// Writes a line. One that would be blank is written as `""`, since readers skip blank lines.
pub(super) fn write_record<'a>(cells: impl IntoIterator<Item = CsvCell<'a>>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut count = 0;
    for cell in cells {
        if count > 0 {
            out.push(b',');
        }
        count += 1;
        match cell {
            CsvCell::Empty => {}
            CsvCell::Plain(text) if !needs_quotes(&text) => out.extend_from_slice(text.as_bytes()),
            CsvCell::Plain(text) | CsvCell::Quoted(text) => write_quoted(&text, out),
        }
    }
    if count == 1 && out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}

fn needs_quotes(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'))
}

fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}
