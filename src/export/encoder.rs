use super::agents::AskedAgents;
use super::control::ReadVerdict;
use super::excel::ExcelRows;
use crate::domain::AgentId;
use crate::shape::csv::{DEFAULT_COLUMNS, Table};
use crate::shape::{Fields, ListError, MOST_PATHS, NotARow};

/// The member of a row that shows how far back in time an export has got.
const CREATED_AT: &str = "created_at";

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Rows only, one per line.
    Ndjson,
    /// One document like the gateway's envelope, except that what is known only at the end follows the rows.
    Json,
    /// The gateway's CSV.
    Csv,
    /// A tab-separated table for Excel, see [`crate::shape::excel`].
    Excel,
}

/// The format of a file, and the fields of each row that it holds.
#[derive(Clone, Debug)]
pub struct FileRows {
    format: FileFormat,
    /// The values of the `fields` parameter to request.
    fields: Vec<String>,
    table: Option<Table>,
}

/// Turns rows into the bytes of a file.
#[derive(Debug)]
pub struct Encoder {
    form: EncoderForm,
    /// The agent of the next rows.
    agent: AgentId,
}

#[derive(Debug)]
enum EncoderForm {
    Lines,
    Document { layout: DocumentLayout, rows: u64 },
    Table(Table),
    Excel(ExcelRows),
}

/// The layout of a JSON document.
#[derive(Debug)]
enum DocumentLayout {
    /// One envelope.
    Single,
    /// A section for each agent; the last of those begun is open.
    Sections { begun: u64 },
}

impl FileFormat {
    /// The format for the extension of a file name.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Whether the file is a table.
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Excel)
    }
}

impl FileRows {
    /// Rows in this format with these values of `fields`. Without any, whole rows; in a table, the default columns.
    ///
    /// # Errors
    /// The list of fields is invalid.
    pub fn new(format: FileFormat, fields: &[String], agents: &AskedAgents) -> Result<Self, ListError> {
        if !format.is_table() {
            if !fields.is_empty() {
                Fields::parse(fields)?;
            }
            return Ok(Self { format, fields: fields.to_vec(), table: None });
        }
        let default = [DEFAULT_COLUMNS.to_owned()];
        let list = Fields::parse(if fields.is_empty() { &default } else { fields })?;
        let table = Table::new(&list);
        let table = if agents.are_several() { table.with_agent_id() } else { table };
        Ok(Self { format, fields: vec![requested(&list)], table: Some(table) })
    }

    /// The values of the `fields` parameter to request.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The format.
    pub const fn format(&self) -> FileFormat {
        self.format
    }

    /// An encoder for a new file.
    pub fn encoder(&self, agents: &AskedAgents) -> Encoder {
        let layout = || {
            if agents.are_several() { DocumentLayout::Sections { begun: 0 } } else { DocumentLayout::Single }
        };
        let form = match (self.format, &self.table) {
            (FileFormat::Csv, Some(table)) => EncoderForm::Table(table.clone()),
            (FileFormat::Excel, Some(table)) => EncoderForm::Excel(ExcelRows::new(table.clone())),
            (FileFormat::Json, _) => EncoderForm::Document { layout: layout(), rows: 0 },
            (FileFormat::Ndjson | FileFormat::Csv | FileFormat::Excel, _) => EncoderForm::Lines,
        };
        Encoder { form, agent: agents.first() }
    }
}

/// The list to request for a table: its columns without the agent, which is not a value of the row, and the creation date
/// where the list has room for it, because progress is measured by it.
fn requested(list: &Fields) -> String {
    let paths: Vec<_> = list.columns().iter().filter(|column| column.path().is_some()).collect();
    let mut names: Vec<_> = paths.iter().map(|column| column.given()).collect();
    let has_date = paths.iter().any(|column| column.canonical().starts_with(CREATED_AT));
    if names.is_empty() || (!has_date && names.len() < MOST_PATHS) {
        names.push(CREATED_AT);
    }
    names.join(",")
}

impl Encoder {
    /// Writes the beginning of a file.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        match &mut self.form {
            EncoderForm::Lines => {}
            EncoderForm::Document { layout: DocumentLayout::Single, .. } => open_section(self.agent, out),
            EncoderForm::Document { layout: DocumentLayout::Sections { .. }, .. } => {
                out.extend_from_slice(b"{\"agents\":[\n");
            }
            EncoderForm::Table(table) => table.write_header(out),
            EncoderForm::Excel(rows) => rows.begin(out),
        }
    }

    /// Begins the rows of another agent.
    pub fn agent(&mut self, agent: AgentId, out: &mut Vec<u8>) {
        self.agent = agent;
        if let EncoderForm::Document { layout: DocumentLayout::Sections { begun }, rows } = &mut self.form {
            if *begun > 0 {
                close_section(*rows, out);
                out.extend_from_slice(b",\n");
            }
            open_section(agent, out);
            (*begun, *rows) = (*begun + 1, 0);
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// The row is not a JSON object; only tables check that.
    pub fn row(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<(), NotARow> {
        match &mut self.form {
            EncoderForm::Lines => {
                out.extend_from_slice(row);
                out.push(b'\n');
            }
            EncoderForm::Document { rows, .. } => {
                if *rows > 0 {
                    out.extend_from_slice(b",\n");
                }
                *rows += 1;
                out.extend_from_slice(row);
            }
            EncoderForm::Table(table) => table.write_row(row, self.agent, out)?,
            EncoderForm::Excel(rows) => rows.write_row(row, self.agent, out)?,
        }
        Ok(())
    }

    /// Writes the control line of a removed execution. Only NDJSON has a place for it.
    pub fn removed(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if matches!(self.form, EncoderForm::Lines) {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }

    /// Writes the end of a complete file.
    pub fn end(&mut self, end: &ReadVerdict, out: &mut Vec<u8>) {
        let EncoderForm::Document { layout, rows } = &mut self.form else { return };
        let as_of = serde_json::to_string(&end.as_of).unwrap_or_default();
        match layout {
            DocumentLayout::Single => {
                let total = if end.has_more { String::new() } else { format!("\"total\":{rows},") };
                let text = format!(
                    "\n],\"as_of\":{as_of},\"page_number\":1,\"page_size\":{rows},{total}\"has_more\":{},\
                     \"complete\":true}}\n",
                    end.has_more,
                );
                out.extend_from_slice(text.as_bytes());
            }
            DocumentLayout::Sections { begun } => {
                if *begun > 0 {
                    close_section(*rows, out);
                }
                let has_more = end.has_more || end.agents.iter().any(|agent| agent.has_more);
                let total = if has_more { String::new() } else { format!(",\"total\":{}", end.count) };
                let verdicts = serde_json::to_string(&end.agents).unwrap_or_default();
                let text =
                    format!("\n],\"verdicts\":{verdicts},\"as_of\":{as_of},\"complete\":true{total}}}\n");
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// What the user should know before using the file.
    pub fn warnings(&self) -> Vec<String> {
        match &self.form {
            EncoderForm::Excel(rows) => rows.warnings(),
            EncoderForm::Lines | EncoderForm::Document { .. } | EncoderForm::Table(_) => Vec::new(),
        }
    }
}

fn open_section(agent: AgentId, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"agent_id\":\"{agent}\",\"data\":[\n").as_bytes());
}

fn close_section(rows: u64, out: &mut Vec<u8>) {
    let text = format!("\n],\"page_number\":1,\"page_size\":{rows},\"complete\":true}}");
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
