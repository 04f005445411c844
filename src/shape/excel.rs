//! The table for Excel, as an export writes it: UTF-16LE with a byte order mark, and tabs between cells.
//!
//! Excel takes long digits for numbers and some texts for formulas, so cells are altered here, and only here.

use std::borrow::Cow;

use super::csv::cell_text;

/// The first bytes of the file.
pub const BYTE_ORDER_MARK: [u8; 2] = [0xff, 0xfe];

/// The most lines that a sheet has.
pub const MOST_ROWS: usize = 1_048_576;

/// The most characters that a cell holds, in units of UTF-16.
pub const LONGEST_CELL: usize = 32_767;

/// The text of a value's cell: one of digits, with a plus or without, becomes `="…"`, so that it stays text; another
/// that Excel would take for a formula gets an apostrophe in front. Numbers and everything else stay as they are.
pub fn cell(value: Option<&str>) -> Cow<'_, str> {
    let Some(value) = value.filter(|value| *value != "null") else { return Cow::Borrowed("") };
    let text = cell_text(value);
    if value.starts_with('"') { guarded(text) } else { text }
}

/// The text of a column's name.
pub fn name(name: &str) -> Cow<'_, str> {
    guarded(Cow::Borrowed(name))
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

/// Writes the header line: its names are always in quotes.
pub fn write_header<'a>(names: impl IntoIterator<Item = &'a str>, out: &mut Vec<u8>) {
    write_line(names.into_iter().map(|column| (name(column), true)), out);
}

/// Writes a line of cells as [`cell`] gives them.
pub fn write_record<'a>(cells: impl IntoIterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    write_line(cells.into_iter().map(|text| (text, false)), out);
}

fn write_line<'a>(cells: impl IntoIterator<Item = (Cow<'a, str>, bool)>, out: &mut Vec<u8>) {
    let mut line = String::new();
    let mut count = 0;
    for (text, is_quoted) in cells {
        if count > 0 {
            line.push('\t');
        }
        count += 1;
        if is_quoted || text.contains(['\t', '"', '\r', '\n']) {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&text);
        }
    }
    if count == 1 && line.is_empty() {
        line.push_str("\"\"");
    }
    line.push_str("\r\n");
    out.extend(line.encode_utf16().flat_map(u16::to_le_bytes));
}
