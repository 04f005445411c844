//! The rows of an agent without HTTP, for tests to compare with.

use bytes::Bytes;

use super::Simulator;
use super::rows::Ask;
use crate::domain::{AgentId, Filters, Span, Status, Timestamp};

/// A row in its present state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrueRow {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) status: Status,
    /// The bytes that a page has for the row.
    pub(crate) bytes: Bytes,
}

impl Simulator {
    /// The matching rows, newest first; those of one instant in ascending order of `id`. Empty if there is no such agent.
    pub(crate) fn rows_matching(
        &self,
        agent: AgentId,
        filters: &Filters,
        span: Option<Span>,
    ) -> Vec<TrueRow> {
        let world = &self.inner.world;
        let Some(agent) = &world.agent(agent) else { return Vec::new() };
        let bounds = span.map_or(Ask::ALL_TIME, |span| (span.from().as_micros(), span.to().as_micros()));
        let found = world.page(agent, Ask { bounds, ..Ask::whole(filters) });
        let row = |row: &_| {
            let mut bytes = Vec::new();
            world.write(agent, row, &mut bytes);
            let (record, standing) = row;
            TrueRow {
                id: world.id(agent, record),
                created_at: Timestamp::from_micros(record.created_at),
                status: Status::new(standing.status.as_str()),
                bytes: bytes.into(),
            }
        };
        let mut rows: Vec<_> = found.rows.iter().map(row).collect();
        rows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        rows
    }
}
