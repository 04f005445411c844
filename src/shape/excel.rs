//! The table for Excel that an export writes: UTF-16LE with a byte order mark, and tabs between cells.
//!
//! Excel reads digits as numbers and some texts as formulas, so this is the only table whose cells are altered.

use std::borrow::Cow;

use super::csv::{CsvCell, cell_text, write_separated};

/// The first bytes of the file.
pub const BYTE_ORDER_MARK: [u8; 2] = [0xff, 0xfe];

/// The most lines that Excel shows of a sheet.
pub const MOST_ROWS: usize = 1_048_576;

/// The longest text that Excel keeps of a cell, in UTF-16 units.
pub const LONGEST_CELL: usize = 32_767;

/// The text of a JSON value's cell. A string of digits, with or without a plus sign, becomes `="…"`, so that it stays
/// text; any other string that Excel would read as a formula gets an apostrophe in front. Other values are not altered.
pub fn cell(value: Option<&str>) -> Cow<'_, str> {
    let Some(value) = value.filter(|value| *value != "null") else { return Cow::Borrowed("") };
    let text = cell_text(value);
    if value.starts_with('"') { guarded(text) } else { text }
}

fn guarded(text: Cow<'_, str>) -> Cow<'_, str> {
    let digits = text.strip_prefix('+').unwrap_or(&text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Cow::Owned(format!("=\"{text}\""));
    }
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => Cow::Owned(format!("'{text}")),
        _ => text,
    }
}

/// Writes the header line. Names are always quoted.
pub fn write_header<'a>(names: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    write_line(names.into_iter().map(|name| CsvCell::Quoted(guarded(Cow::Borrowed(name)))), out);
}

/// Writes a line of cells that [`cell`] returned.
pub fn write_record<'a>(cells: impl IntoIterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    write_line(cells.into_iter().map(CsvCell::Plain), out);
}

fn write_line<'a>(cells: impl Iterator<Item = CsvCell<'a>>, out: &mut Vec<u8>) {
    let mut line = Vec::new();
    write_separated(cells, b'\t', &mut line);
    out.extend(String::from_utf8_lossy(&line).encode_utf16().flat_map(u16::to_le_bytes));
}
