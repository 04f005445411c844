use std::collections::HashSet;

use crate::domain::{NewRow, Page, RowId, Timestamp};

/// The rows that were seen.
#[derive(Debug, Default)]
pub(super) struct SeenRows {
    pub(super) ids: HashSet<RowId>,
    /// Of all rows, including those outside the region and repeated ones.
    pub(super) instants: Vec<Timestamp>,
}

impl SeenRows {
    /// The instants of those rows of a page that were seen before; `None` if the page itself repeats a row.
    pub(super) fn again(&self, page: &Page) -> Option<Vec<Option<Timestamp>>> {
        let mut here = HashSet::with_capacity(page.rows.len());
        if !page.rows.iter().all(|row| here.insert(&row.id)) {
            return None;
        }
        let again = page.rows.iter().filter(|row| self.ids.contains(&row.id));
        Some(again.map(|row| row.created_at).collect())
    }

    pub(super) fn add(&mut self, rows: &[NewRow]) {
        self.ids.extend(rows.iter().map(|row| row.row.id.clone()));
        self.instants.extend(rows.iter().map(|row| row.created_at));
    }
}
