use std::sync::Arc;

use bytes::Bytes;

use super::{Status, Timestamp};

/// The most rows on a page, by upstream's documentation.
///
/// What it does with more is unknown. If it capped in silence, a full page would look like a short last one
/// and the rest would be lost, so nothing larger is ever asked for.
pub const MAX_PAGE_SIZE: usize = 50;

/// One execution as bytes, and the little that is read of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Upstream's identifier: a UUID, or `{agent_id}#{timestamp}` in old rows.
    pub id: RowId,
    /// When upstream made the row; it never changes. Absent where upstream gave none, or none that can be read.
    pub created_at: Option<Timestamp>,
    /// When upstream says that it last changed the row.
    pub updated_at: Option<Timestamp>,
    /// Where the call stands; of a row without a status nothing is known, so it counts as not terminal.
    pub status: Option<Status>,
    /// Upstream's bytes, unchanged: a slice of the page they came on.
    pub bytes: Bytes,
}

/// What tells two executions apart.
pub type RowId = Arc<str>;

/// What upstream gave for one page number.
#[derive(Clone, Debug)]
pub struct Page {
    /// In upstream's order.
    pub rows: Vec<Row>,
    /// Whether upstream says that more pages follow; a missing flag on a full page counts as yes.
    pub has_more: bool,
    /// What upstream says it counts. Not promised to honor the filters, nor to be there.
    pub total: Option<u64>,
}

/// One page asked of upstream within a walk.
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

/// What upstream tells of an agent that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// When the agent was made: no execution can be older.
    pub created_at: Option<Timestamp>,
}
