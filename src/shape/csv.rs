//! Rows as CSV: RFC 4180, with CRLF, and a header line whose names are always quoted.
//!
//! Cells are not altered. The header is quoted for readers such as DuckDB, which decide from the first rows whether a
//! file uses quotes at all.

use std::borrow::Cow;

use super::extract::{Extractor, NotARow};
use super::fields::{AGENT_ID, Column, Fields};
use super::{form_digest, text};
use crate::domain::AgentId;

/// The default columns of a table: the scalar values, without transcripts and latencies.
pub const DEFAULT_COLUMNS: &str = "id,status,created_at,updated_at,initiated_at,conversation_duration,total_cost,\
     cost_breakdown.llm,cost_breakdown.network,cost_breakdown.platform,cost_breakdown.synthesizer,\
     cost_breakdown.transcriber,user_number,agent_number,batch_id,retry_count,answered_by_voice_mail,error_message,\
     telephony_data.call_type,telephony_data.provider,telephony_data.to_number,telephony_data.from_number,\
     telephony_data.hangup_by,telephony_data.hangup_reason,telephony_data.hangup_provider_code,\
     telephony_data.ring_duration,telephony_data.duration,telephony_data.recording_url";

/// The columns of a table, and where their values are in a row.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name and the slot of each column; the agent's id has no slot.
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

    /// Adds the agent's id as the first column, unless the table has that column.
    #[must_use]
    pub fn with_agent_id(mut self) -> Self {
        if self.columns.iter().all(|(_, slot)| slot.is_some()) {
            self.columns.insert(0, (AGENT_ID.to_owned(), None));
        }
        self
    }

    /// The names of the columns, as given in the list. Keys keep their quotes, so that no two names are equal.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The short digest of the columns for an ETag. It differs from [`Fields::form`], because browsers revalidate a JSON
    /// response with the ETag of a CSV response if only `Accept` differs.
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
    /// The row is not a JSON object; then nothing is written.
    pub fn write_row(&self, row: &[u8], agent: AgentId, out: &mut Vec<u8>) -> Result<(), NotARow> {
        let values = self.values(row, agent)?;
        write_record(values.iter().map(|value| CsvCell::of(value.as_deref())), out);
        Ok(())
    }

    /// The JSON values of a row, in the order of the columns.
    ///
    /// # Errors
    /// The row is not a JSON object.
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
    /// Null, or absent.
    Empty,
    /// Text that is quoted if it has to be.
    Plain(Cow<'a, str>),
    /// Text that is always quoted.
    Quoted(Cow<'a, str>),
}

impl<'a> CsvCell<'a> {
    pub(super) const fn quoted(text: &'a str) -> Self {
        Self::Quoted(Cow::Borrowed(text))
    }

    /// The cell of a JSON value, see [`cell_text`].
    pub(super) fn of(value: Option<&'a str>) -> Self {
        match value {
            None | Some("null") => Self::Empty,
            Some(value) => Self::Plain(cell_text(value)),
        }
    }
}

/// The text of a JSON value before quoting: of a string its text, of any other value its literal. A string that can't be
/// decoded, such as half a surrogate pair, is its literal, too.
pub(super) fn cell_text(value: &str) -> Cow<'_, str> {
    text::of_string(value).unwrap_or(Cow::Borrowed(value))
}

/// Writes a line of CSV.
pub(super) fn write_record<'a>(cells: impl IntoIterator<Item = CsvCell<'a>>, out: &mut Vec<u8>) {
    write_separated(cells, b',', out);
}

/// Writes a line. A single empty cell is written as `""`, because readers skip blank lines.
pub(super) fn write_separated<'a>(
    cells: impl IntoIterator<Item = CsvCell<'a>>,
    separator: u8,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let mut count = 0;
    for cell in cells {
        if count > 0 {
            out.push(separator);
        }
        count += 1;
        match cell {
            CsvCell::Empty => {}
            CsvCell::Plain(text) if !needs_quotes(&text, separator) => out.extend_from_slice(text.as_bytes()),
            CsvCell::Plain(text) | CsvCell::Quoted(text) => write_quoted(&text, out),
        }
    }
    if count == 1 && out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.extend_from_slice(b"\r\n");
}

fn needs_quotes(text: &str, separator: u8) -> bool {
    text.bytes().any(|byte| byte == separator || matches!(byte, b'"' | b'\r' | b'\n'))
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
