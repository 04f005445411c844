use bytes::Bytes;

use super::{FilterFacts, RowId, Status, Timestamp};

/// The most rows on a page, by upstream's documentation.
///
/// What it does with a larger value is unknown. If it silently capped the value, a full page would look like a short last page
/// and the rest would be lost, so fanfold never requests more.
pub const MAX_PAGE_SIZE: usize = 50;

/// One execution: its bytes, and the few fields that are read from it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Upstream's identifier: a UUID, or `{agent_id}#{timestamp}` in old rows.
    pub id: RowId,
    /// When upstream created the row; it never changes. `None` if it is absent or can't be read.
    pub created_at: Option<Timestamp>,
    /// When upstream last changed the row, as it reports.
    pub updated_at: Option<Timestamp>,
    /// The status of the call. A row without one counts as not terminal.
    pub status: Option<Status>,
    /// The facts that filters test.
    pub facts: FilterFacts,
    /// Upstream's bytes, unchanged: a slice of the page they came on.
    pub bytes: Bytes,
}

/// Upstream's response to a request for one page.
#[derive(Clone, Debug)]
pub struct Page {
    /// In upstream's order.
    pub rows: Vec<Row>,
    /// Whether upstream reports more pages. A missing flag on a full page counts as yes.
    pub has_more: bool,
    /// Whether upstream sent that flag; without it, `has_more` is judged by the rows and the total.
    pub has_flag: bool,
    /// Upstream's own count of rows. It may ignore the filters, and may be absent.
    pub total: Option<u64>,
}

/// A request for one page within a walk.
///
/// # Invariants
/// The span's ends are whole seconds ([`super::Span::outward`]); page numbers start at 1; the page size is at least 1, and at
/// most [`MAX_PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// `from` and `to`.
    pub span: super::Span,
    /// `page_number`.
    pub number: u32,
    /// `page_size`.
    pub size: u32,
}

/// The facts about an agent that fanfold uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// When the agent was created: no execution can be older.
    pub created_at: Option<Timestamp>,
}
