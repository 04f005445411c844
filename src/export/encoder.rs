use super::agents::AskedAgents;
use super::control::ReadVerdict;
use super::excel::ExcelRows;
use crate::domain::AgentId;
use crate::shape::csv::{DEFAULT_COLUMNS, Table};
use crate::shape::{Fields, ListError, NotARow};

/// The most fields of a list.
const MOST_FIELDS: usize = 64;

/// The member of a row that says how far back in time an export is.
const CREATED_AT: &str = "created_at";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One row per line, and nothing else.
    Ndjson,
    /// One document: the gateway's envelope, with what is known only at the end after the rows.
    Json,
    /// A table, as the gateway writes it.
    Csv,
    /// A table for Excel.
    Excel,
}

/// What of each row a file holds, and in which format.
#[derive(Clone, Debug)]
pub struct FileRows {
    format: FileFormat,
    /// The values of `fields` that are requested.
    fields: Vec<String>,
    table: Option<Table>,
}

/// Turns rows into the bytes of a file.
#[derive(Debug)]
pub struct Encoder {
    form: EncoderForm,
    /// Whose rows come.
    agent: AgentId,
}

#[derive(Debug)]
enum EncoderForm {
    Lines,
    Document { layout: DocumentLayout, rows: u64 },
    Table(Table),
    Excel(ExcelRows),
}

/// How a document is laid out.
#[derive(Debug)]
enum DocumentLayout {
    /// One envelope.
    Single,
    /// One section for each agent; whether one is open.
    Sections { is_open: bool, agents: u64 },
}

impl FileFormat {
    /// The format that the ending of a name says.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Whether rows become lines of a table.
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Excel)
    }
}

impl FileRows {
    /// The rows of a file in this format with these values of `fields`; without any, whole rows, or the default columns.
    ///
    /// # Errors
    /// The list of fields can't be read.
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

    /// The values of `fields` to request.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The format.
    pub const fn format(&self) -> FileFormat {
        self.format
    }

    /// The encoder of a file's rows.
    pub fn encoder(&self, agents: &AskedAgents) -> Encoder {
        let layout = || {
            if agents.are_several() {
                DocumentLayout::Sections { is_open: false, agents: 0 }
            } else {
                DocumentLayout::Single
            }
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

/// The list to request for a table: its columns, without the agent, which is no value of a row. A row's date is requested
/// as well where the list has room for it, because it says how far back an export is.
fn requested(list: &Fields) -> String {
    let paths: Vec<_> = list.columns().iter().filter(|column| column.path().is_some()).collect();
    let mut names: Vec<_> = paths.iter().map(|column| column.given()).collect();
    let has_date = paths.iter().any(|column| column.canonical().starts_with(CREATED_AT));
    if names.is_empty() || (!has_date && names.len() < MOST_FIELDS) {
        names.push(CREATED_AT);
    }
    names.join(",")
}

impl Encoder {
    /// Writes what a file begins with.
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

    /// The rows of another agent follow.
    pub fn agent(&mut self, agent: AgentId, out: &mut Vec<u8>) {
        self.agent = agent;
        if let EncoderForm::Document { layout: DocumentLayout::Sections { is_open, agents }, rows } =
            &mut self.form
        {
            if *is_open {
                close_section(*rows, out);
            }
            if *agents > 0 {
                out.extend_from_slice(b",\n");
            }
            open_section(agent, out);
            (*is_open, *rows) = (true, 0);
            *agents += 1;
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// A row of a table is no JSON object.
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

    /// Writes a control line about a removed execution; only lines have a place for it.
    pub fn removed(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if matches!(self.form, EncoderForm::Lines) {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }

    /// Writes what a complete file ends with.
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
            DocumentLayout::Sections { is_open, .. } => {
                if *is_open {
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
