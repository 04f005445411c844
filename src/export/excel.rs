use std::borrow::Cow;

use super::progress::number;
use crate::domain::AgentId;
use crate::shape::NotARow;
use crate::shape::csv::Table;
use crate::shape::excel::{self, BYTE_ORDER_MARK, LONGEST_CELL, MOST_ROWS};

/// Writes rows as a table for Excel, and counts what Excel would not show.
#[derive(Debug)]
pub(super) struct ExcelRows {
    table: Table,
    /// Lines so far, the header included.
    lines: u64,
    /// Cells that Excel would cut.
    long_cells: u64,
}

impl ExcelRows {
    pub(super) const fn new(table: Table) -> Self {
        Self { table, lines: 0, long_cells: 0 }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        self.lines = 1;
        out.extend_from_slice(&BYTE_ORDER_MARK);
        excel::write_header(self.table.names(), out);
    }

    pub(super) fn write_row(&mut self, row: &[u8], agent: AgentId, out: &mut Vec<u8>) -> Result<(), NotARow> {
        let values = self.table.values(row, agent)?;
        let cells: Vec<Cow<'_, str>> = values.iter().map(|value| excel::cell(value.as_deref())).collect();
        let is_long = |cell: &&Cow<'_, str>| {
            // A byte is at most one unit of UTF-16.
            cell.len() > LONGEST_CELL && cell.encode_utf16().count() > LONGEST_CELL
        };
        self.long_cells += cells.iter().filter(is_long).count() as u64;
        self.lines += 1;
        excel::write_record(cells, out);
        Ok(())
    }

    /// Warnings about what Excel would not show of the file.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let most = MOST_ROWS as u64;
        if self.lines > most {
            warnings.push(format!(
                "the file has {} rows, and Excel shows only the first {}: choose a shorter range with --from and --to, and do \
                 not save the file from Excel",
                number(self.lines),
                number(most)
            ));
        }
        let cells = match self.long_cells {
            0 => return warnings,
            1 => "1 cell is".to_owned(),
            many => format!("{} cells are", number(many)),
        };
        warnings.push(format!(
            "{cells} longer than the {} characters that Excel keeps of each: leave out long columns with --fields",
            number(LONGEST_CELL as u64)
        ));
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Fields;

    fn warnings(lines: u64, row: &str) -> Vec<String> {
        let table = Table::new(&Fields::parse(&["id"]).unwrap());
        let mut rows = ExcelRows { lines, ..ExcelRows::new(table) };
        rows.write_row(row.as_bytes(), AgentId::new(uuid::Uuid::nil()), &mut Vec::new()).unwrap();
        rows.warnings()
    }

    fn row(length: usize) -> String {
        format!("{{\"id\":\"{}\"}}", "é".repeat(length))
    }

    #[test]
    fn warns_about_cells_that_excel_would_cut() {
        assert!(warnings(1, &row(32_767)).is_empty());
        assert!(warnings(1, &row(32_768))[0].starts_with("1 cell is longer than the 32,767 characters"));
    }

    #[test]
    fn warns_about_rows_that_excel_would_leave_out() {
        assert!(warnings(1_048_575, "{}").is_empty());
        assert!(
            warnings(1_048_576, "{}")[0]
                .starts_with("the file has 1,048,577 rows, and Excel shows only the first 1,048,576")
        );
    }
}
