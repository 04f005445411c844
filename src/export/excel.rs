use std::borrow::Cow;

use super::progress::number;
use crate::domain::AgentId;
use crate::shape::NotARow;
use crate::shape::csv::Table;
use crate::shape::excel::{self, BYTE_ORDER_MARK, LONGEST_CELL, MOST_ROWS};

/// Rows as a table for Excel, and what of it Excel would not show.
#[derive(Debug)]
pub(super) struct ExcelRows {
    table: Table,
    /// Lines so far, the header included.
    lines: u64,
    /// Cells that Excel cuts.
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

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let most = MOST_ROWS as u64;
        if self.lines > most {
            warnings.push(format!(
                "Excel shows at most {} rows, and the file has {}: narrow --from and --to, and do not save it from Excel",
                number(most),
                number(self.lines)
            ));
        }
        if self.long_cells > 0 {
            warnings.push(format!(
                "Excel cuts cells at {} characters, and {} are longer: leave their column out with --fields",
                number(LONGEST_CELL as u64),
                number(self.long_cells)
            ));
        }
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
    fn cells_that_excel_would_cut_are_told() {
        assert!(warnings(1, &row(32_767)).is_empty());
        assert!(warnings(1, &row(32_768))[0].contains("at 32,767 characters, and 1 are longer"));
    }

    #[test]
    fn rows_that_excel_would_leave_out_are_told() {
        assert!(warnings(1_048_575, "{}").is_empty());
        assert!(warnings(1_048_576, "{}")[0].contains("at most 1,048,576 rows, and the file has 1,048,577"));
    }
}
