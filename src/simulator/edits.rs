use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Simulator;
use super::page_asked::PageAsked;
use super::record::{Edit, Record};
use super::rows::Ask;
use super::settings::TieOrder;
use super::status::CallStatus;
use crate::domain::{AgentId, CallType, Filters, Span, Status, Timestamp};

/// A row to insert.
#[derive(Clone, Debug)]
pub struct Insertion {
    created_at: Timestamp,
    edit: Edit,
}

impl Insertion {
    /// A completed call that was made at this instant; the rest is drawn from the seed.
    pub fn at(created_at: Timestamp) -> Self {
        let status = Some(Status::new(CallStatus::Completed.as_str()));
        Self { created_at, edit: Edit { status, ..Edit::default() } }
    }

    /// The bytes of the row, which may be anything. Only the id is taken from them; filters test the values
    /// that are set here.
    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self.edit.id = id_in(&bytes);
        self.edit.bytes = Some(bytes);
        self
    }

    /// The final status of the call, which changes only by [`Simulator::set_status`].
    #[must_use]
    pub fn status(mut self, status: &str) -> Self {
        self.edit.status = Some(Status::new(status));
        self
    }

    /// A call that proceeds on its own, as seeded ones do.
    #[must_use]
    pub fn proceeding(mut self) -> Self {
        self.edit.status = None;
        self
    }

    /// The direction of the call.
    #[must_use]
    pub const fn call_type(mut self, call_type: CallType) -> Self {
        self.edit.call_type = Some(call_type);
        self
    }

    /// The number that is called, in E.164 form.
    #[must_use]
    pub fn recipient(mut self, number: &str) -> Self {
        self.edit.recipient = Some(number.into());
        self
    }
}

/// The value of a row's first `id`, if that can be read.
fn id_in(bytes: &[u8]) -> Option<Arc<str>> {
    #[derive(serde::Deserialize)]
    struct Identified<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let row: Identified<'_> = serde_json::from_slice(bytes).ok()?;
    serde_json::from_str::<String>(row.id.get()).ok().map(Into::into)
}

/// A row in its current state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueRow {
    /// Its id.
    pub id: Arc<str>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// The status of its call.
    pub status: Status,
    /// Its bytes, as a page would carry them.
    pub bytes: Bytes,
}

/// The agent or the row does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotThere {
    /// No agent has this identifier.
    #[error("there is no such agent")]
    Agent,
    /// The agent has no row with this id.
    #[error("the agent has no such row")]
    Row,
}

/// Edits rows, and reads them without HTTP.
impl Simulator {
    /// Inserts a row at any instant, and returns its id.
    ///
    /// # Errors
    /// [`NotThere::Agent`].
    pub fn insert(&self, agent: AgentId, row: Insertion) -> Result<Arc<str>, NotThere> {
        let world = &self.inner.world;
        let agent = &*world.agent(agent).ok_or(NotThere::Agent)?;
        let mut rows = world.rows(agent);
        let serial = rows.unused_serial();
        let mut record = Record::drawn(agent.seed, serial, row.created_at.as_micros());
        record.facts.batch = None;
        record.edit = Some(Box::new(row.edit));
        let id = world.id(agent, &record).into();
        rows.put(record);
        Ok(id)
    }

    /// Sets the final status of a row as of an instant. A row with its own bytes keeps them.
    ///
    /// # Errors
    /// [`NotThere`].
    pub fn set_status(&self, agent: AgentId, id: &str, status: &str, at: Timestamp) -> Result<(), NotThere> {
        self.edit(agent, id, |edit| {
            edit.status = Some(Status::new(status));
            edit.updated_at = Some(at.as_micros());
        })
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// [`NotThere`].
    pub fn delete(&self, agent: AgentId, id: &str) -> Result<(), NotThere> {
        let world = &self.inner.world;
        let agent = &*world.agent(agent).ok_or(NotThere::Agent)?;
        world.rows(agent).remove(world.has_id(agent, id)).map(drop).ok_or(NotThere::Row)
    }

    /// Deletes an agent with all its rows.
    ///
    /// # Errors
    /// [`NotThere::Agent`].
    pub fn delete_agent(&self, agent: AgentId) -> Result<(), NotThere> {
        self.inner.world.agent(agent).map(|agent| agent.vanish()).ok_or(NotThere::Agent)
    }

    /// The rows that upstream would show now: newest first, those of one instant in ascending order of `id`.
    /// Empty for an agent that does not exist.
    pub fn rows_matching(&self, agent: AgentId, filters: &Filters, span: Option<Span>) -> Vec<TrueRow> {
        let world = &self.inner.world;
        let Some(agent) = &world.agent(agent) else { return Vec::new() };
        let span = span.map_or((i64::MIN, i64::MAX), |s| (s.from().as_micros(), s.to().as_micros()));
        let found = world.page(
            agent,
            Ask {
                filters,
                bounds: span,
                page: PageAsked::WHOLE,
                ties: TieOrder::Stable,
                request: 0,
                now: 0,
                commit_lag: 0,
            },
        );
        let mut rows: Vec<_> = found
            .rows
            .iter()
            .map(|row| {
                let mut bytes = Vec::new();
                world.write(agent, row, &mut bytes);
                TrueRow {
                    id: world.id(agent, &row.0).into(),
                    created_at: Timestamp::from_micros(row.0.created_at),
                    updated_at: Timestamp::from_micros(row.1.changed_at),
                    status: Status::new(row.0.status_word(&row.1)),
                    bytes: bytes.into(),
                }
            })
            .collect();
        rows.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        rows
    }

    fn edit(&self, agent: AgentId, id: &str, change: impl FnOnce(&mut Edit)) -> Result<(), NotThere> {
        let world = &self.inner.world;
        let agent = &*world.agent(agent).ok_or(NotThere::Agent)?;
        let is = world.has_id(agent, id);
        let mut rows = world.rows(agent);
        let record = rows.find(is).ok_or(NotThere::Row)?;
        change(record.edit.get_or_insert_with(Box::default));
        Ok(())
    }
}
