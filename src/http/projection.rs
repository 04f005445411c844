//! Rows that are sent in another form than upstream's: chosen fields, all but some members, lines of a table.
//!
//! An entry's rows are rewritten once and stored with it, so a repeated request costs a look-up. The
//! rewritten rows are an entry themselves: framing, compression and counting are those of whole rows.
//! Upstream is asked for whole rows whatever the form.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future};

use super::authorized::ResponseShape;
use super::body::{Event, SectionEvent};
use super::params::invalid;
use super::problem::Problem;
use super::question::{AllParams, EndRecord, Format};
use crate::domain::{AgentId, Entry, EntrySlice, LineBreaks};
use crate::encode::CompressionPool;
use crate::engine::{Answer, AskError, ByteLimit, Collected, Collection, Gathered};
use crate::shape::csv::{DEFAULT_COLUMNS, Table};
use crate::shape::{Fields, NotARow, Omit};

/// How each row is rewritten.
#[derive(Debug)]
pub(super) struct Projection {
    rewrite: Rewrite,
    /// The name under which rewritten rows are stored with an entry: equal names mean equal bytes.
    name: Arc<str>,
    form: String,
}

#[derive(Debug)]
enum Rewrite {
    Fields(Fields),
    Omit(Omit),
    Table(Table),
}

impl Projection {
    /// The projection that the parameters ask for; `None` if rows are sent whole.
    pub(super) fn of(
        params: &AllParams,
        format: Format,
        shape: ResponseShape,
    ) -> Result<Option<Self>, Problem> {
        match format {
            Format::Csv => Self::table(params, shape).map(Some),
            Format::Json | Format::Ndjson => {
                Self::of_rows(params.fields.as_ref(), params.omit.as_ref(), format)
            }
        }
    }

    /// The projection of JSON rows: to some fields, or to all but some members.
    pub(super) fn of_rows(
        fields: Option<&Fields>,
        omit: Option<&Omit>,
        format: Format,
    ) -> Result<Option<Self>, Problem> {
        match (fields, omit) {
            (Some(fields), _) => {
                if format == Format::Ndjson && fields.may_look_like_a_control_line() {
                    return Err(invalid(
                        "`fields` is not valid with NDJSON: a row with nothing but a member that begins with `@` \
                         would be a control line; accepted: a list with `id`, which every row has"
                            .to_owned(),
                    ));
                }
                let name = format!("fields={}", fields.canonical());
                Ok(Some(Self::new(name, fields.form(), Rewrite::Fields(fields.clone()))))
            }
            (None, Some(omit)) => {
                let name = format!("omit={}", omit.canonical());
                Ok(Some(Self::new(name, omit.form(), Rewrite::Omit(omit.clone()))))
            }
            (None, None) => Ok(None),
        }
    }

    fn table(params: &AllParams, shape: ResponseShape) -> Result<Self, Problem> {
        let refused = |name: &str, why: &str| Err(invalid(format!("`{name}` is not valid with CSV, {why}")));
        if params.omit.is_some() {
            return refused("omit", "which needs its columns named; accepted: `fields`");
        }
        if params.end_record == EndRecord::Wanted {
            return refused("end_record", "which is only sent complete; accepted: `false`");
        }
        let default = || {
            // A test reads the list.
            Fields::parse(&[DEFAULT_COLUMNS]).map_err(|error| invalid(error.to_string()))
        };
        let fields = params.fields.clone().map_or_else(default, Ok)?;
        let (table, name) = match shape {
            ResponseShape::Plain => (Table::new(&fields), "csv"),
            ResponseShape::Sections => (Table::new(&fields).with_agent_id(), "csv of several"),
        };
        Ok(Self::new(format!("{name}={}", fields.canonical()), table.form(), Rewrite::Table(table)))
    }

    fn new(name: String, form: String, rewrite: Rewrite) -> Self {
        Self { rewrite, name: name.into(), form }
    }

    /// Distinguishes the response from whole rows in its `ETag`.
    pub(super) fn form(&self) -> &str {
        &self.form
    }

    /// The header line of a table; nothing for other forms.
    pub(super) fn header_line(&self) -> Bytes {
        let mut line = Vec::new();
        if let Rewrite::Table(table) = &self.rewrite {
            table.write_header(&mut line);
        }
        line.into()
    }

    /// The same rows in this form. They are made off the workers unless they are few or already stored.
    pub(super) async fn apply(
        self: &Arc<Self>,
        slice: EntrySlice,
        agent: AgentId,
        compression_pool: &CompressionPool,
    ) -> io::Result<EntrySlice> {
        let work = if slice.entry.has_extract(&self.name) { 0 } else { slice.entry.byte_len() };
        let projection = Arc::clone(self);
        let EntrySlice { entry, runs } = slice;
        let rewritten = move || {
            entry.extract(&projection.name, || {
                let rewritten = projection.rewrite(&entry, agent)?;
                let weight = rewritten.rewritten_weight();
                Ok((rewritten, weight))
            })
        };
        let entry = compression_pool.run(work, rewritten).await?;
        Ok(EntrySlice { entry, runs })
    }

    fn rewrite(&self, entry: &Entry, agent: AgentId) -> io::Result<Entry> {
        // Rows were read as JSON objects when they arrived.
        let damaged = |error: NotARow| io::Error::other(error);
        match &self.rewrite {
            Rewrite::Fields(fields) => entry.rewritten(LineBreaks::BetweenTokens, |row, out| {
                fields.project(row, agent, out).map_err(damaged)
            }),
            Rewrite::Omit(omit) => {
                entry.rewritten(LineBreaks::BetweenTokens, |row, out| omit.apply(row, out).map_err(damaged))
            }
            Rewrite::Table(table) => entry.rewritten(LineBreaks::InText, |row, out| {
                table.write_row(row, agent, out).map_err(damaged)?;
                // The entry has a line feed after each row: it is the second half of the line's end.
                out.truncate(out.len() - 1);
                Ok(())
            }),
        }
    }
}

/// Takes all rows of an answer in another form, up to a limit in bytes. Whole rows are released as they are
/// rewritten.
///
/// # Errors
/// As [`Answer::collect`].
pub(super) async fn collect(
    projection: &Arc<Projection>,
    mut answer: Answer,
    agent: AgentId,
    compression_pool: &CompressionPool,
    limit: &ByteLimit,
) -> Result<Collected, AskError> {
    let mut collection = Collection::new(limit, answer.new_held());
    while let Some(gathered) = answer.gather().await? {
        match gathered {
            Gathered::Rows(slice) => {
                collection.push(applied(Some(projection), slice, agent, compression_pool).await?)?;
            }
            Gathered::Restarted => collection.restart(answer.new_held()),
        }
    }
    Ok(collection.finish(answer.verdict()))
}

/// Rows in the form in which they are sent.
///
/// # Errors
/// [`AskError::ShuttingDown`]: fails only if the runtime ends.
pub(super) async fn applied(
    projection: Option<&Arc<Projection>>,
    slice: EntrySlice,
    agent: AgentId,
    compression_pool: &CompressionPool,
) -> Result<EntrySlice, AskError> {
    let Some(projection) = projection else { return Ok(slice) };
    projection.apply(slice, agent, compression_pool).await.map_err(|_| AskError::ShuttingDown)
}

/// The same events, with rows in another form. The rows are those of `agent` until a section begins. Ends
/// early if rows can't be rewritten, which breaks the body.
pub(super) fn projected(
    events: impl Stream<Item = Event> + Send + 'static,
    projection: Option<Arc<Projection>>,
    agent: AgentId,
    compression_pool: CompressionPool,
) -> futures_util::stream::BoxStream<'static, Event> {
    let Some(projection) = projection else { return events.boxed() };
    let mut agent = agent;
    let events = events.then(move |event| {
        if let Event::Section(SectionEvent::Begins(next)) = &event {
            agent = *next;
        }
        let (projection, compression_pool) = (Arc::clone(&projection), compression_pool.clone());
        async move {
            match event {
                Event::Rows(slice) => {
                    projection.apply(slice, agent, &compression_pool).await.ok().map(Event::Rows)
                }
                other @ (Event::Reached(_)
                | Event::Finished(..)
                | Event::Broken(..)
                | Event::Refused(..)
                | Event::Section(_)) => Some(other),
            }
        }
    });
    events.take_while(|event| future::ready(event.is_some())).filter_map(future::ready).boxed()
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
