//! The end of a response with changes: removed rows and the cursor, or why there is none.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::App;
use super::authorized::ResponseShape;
use super::body::{Event, SectionEvent, open_object, push_line};
use super::problem::{Code, ErrorRenderer, Problem};
use crate::domain::{AgentId, EntrySlice};
use crate::encode::Framing;
use crate::engine::{
    AskError, ChangesOutcome, Comparison, Confirmation, Finished, Question, RemovedRow, SectionsVerdict,
    Verdict,
};

/// A response that is compared with its caller's rows.
#[derive(Debug)]
pub(super) struct FollowedResponse {
    pub(super) app: Arc<App>,
    pub(super) comparison: Comparison,
    pub(super) question: Question,
    pub(super) renderer: ErrorRenderer,
}

/// Why a response failed.
#[derive(Debug)]
pub(super) enum NoOutcome {
    /// Its rows could not be compared.
    Failed(AskError),
    /// The cursor is no longer valid.
    Gone,
}

impl FollowedResponse {
    /// Ends a complete response. If most rows are gone, upstream is asked once more first.
    pub(super) async fn finish(self, verdict: &Verdict) -> Result<ChangesOutcome, NoOutcome> {
        let app = Arc::clone(&self.app);
        tokio::select! {
            biased;
            () = app.shutdown.end_ordered() => Err(NoOutcome::Failed(AskError::ShuttingDown)),
            done = self.compare(verdict) => done,
        }
    }

    async fn compare(self, verdict: &Verdict) -> Result<ChangesOutcome, NoOutcome> {
        let Self { app, mut comparison, question, renderer: _ } = self;
        let mut confirmation = Confirmation::Needed;
        loop {
            let (engine, verdict, work) = (Arc::clone(&app.engine), verdict.clone(), comparison.work());
            let done = app.compression_pool.run(work, move || {
                let finished = engine.finish(&mut comparison, &verdict, confirmation);
                Ok((comparison, finished))
            });
            // Fails only if the runtime ends.
            let (back, finished) = done.await.map_err(|_| NoOutcome::Failed(AskError::ShuttingDown))?;
            comparison = back;
            match finished {
                Finished::Complete(outcome) => return Ok(outcome),
                Finished::Gone => return Err(NoOutcome::Gone),
                Finished::Doubtful(agents) => {
                    for vanished in agents {
                        let question = Question { agent: vanished.agent, ..question.clone() };
                        app.engine.confirm_gone(&question, &vanished).await.map_err(NoOutcome::Failed)?;
                    }
                    confirmation = Confirmation::Given;
                }
            }
        }
    }
}

/// The problem for a cursor that is no longer valid.
pub(super) fn gone() -> Problem {
    Problem::new(
        Code::CursorGone,
        "the changes since this cursor are no longer known: request without `since`, and drop rows that the response does not contain",
    )
}

/// The same events, with only the rows that the caller does not have, and with the cursor at the end.
pub(super) fn changed(
    events: impl Stream<Item = Event> + Send + 'static,
    followed: FollowedResponse,
) -> impl Stream<Item = Event> + Send + 'static {
    // Boxed, because it is moved for every event.
    let agent = followed.question.agent;
    let run = ChangedRun {
        events: events.boxed(),
        agent,
        section: None,
        shape: ResponseShape::Plain,
        changed: None,
        sent: 0,
        followed: Some(followed),
        failed: None,
    };
    let run = Box::new(run);
    stream::unfold(run, async |mut run| Some((run.next().await?, run)))
}

struct ChangedRun {
    events: stream::BoxStream<'static, Event>,
    /// The agent of the rows that follow.
    agent: AgentId,
    /// A section that has begun without a changed row so far. A section without changed rows is left out.
    section: Option<AgentId>,
    shape: ResponseShape,
    /// Changed rows, to be sent after the begin of their section.
    changed: Option<EntrySlice>,
    sent: u64,
    /// The comparison, until the end.
    followed: Option<FollowedResponse>,
    /// Why rows can no longer be compared.
    failed: Option<AskError>,
}

impl ChangedRun {
    async fn next(&mut self) -> Option<Event> {
        if let Some(changed) = self.changed.take() {
            return Some(Event::Rows(changed));
        }
        loop {
            match self.events.next().await? {
                Event::Rows(slice) => {
                    if let Some(event) = self.take(slice) {
                        return Some(event);
                    }
                }
                Event::Section(SectionEvent::Begins(agent)) => {
                    (self.agent, self.section, self.shape) = (agent, Some(agent), ResponseShape::Sections);
                    self.followed.iter_mut().for_each(|followed| followed.comparison.section(agent));
                }
                Event::Section(SectionEvent::Reached(verdict)) => {
                    self.shape = ResponseShape::Sections;
                    return self.end_sections(verdict).await;
                }
                Event::Reached(verdict) => return self.end(verdict).await,
                end @ (Event::Finished(..)
                | Event::Broken(..)
                | Event::Refused(..)
                | Event::Section(SectionEvent::Broken(..))) => return Some(end),
            }
        }
    }

    fn take(&mut self, slice: EntrySlice) -> Option<Event> {
        let followed = self.followed.as_mut().filter(|_| self.failed.is_none())?;
        let changed = match followed.comparison.take(self.agent, slice) {
            Ok(changed) => changed?,
            Err(limit) => {
                self.failed = Some(AskError::NoMemory(limit));
                return None;
            }
        };
        self.sent += changed.len() as u64;
        match self.section.take() {
            None => Some(Event::Rows(changed)),
            Some(agent) => {
                self.changed = Some(changed);
                Some(Event::Section(SectionEvent::Begins(agent)))
            }
        }
    }

    async fn end(&mut self, verdict: Verdict) -> Option<Event> {
        Some(match self.outcome(&verdict).await? {
            Ok(outcome) => self.finished(&outcome, verdict),
            Err(NoOutcome::Failed(error)) => Event::Broken(verdict, error),
            Err(NoOutcome::Gone) => Event::Refused(verdict, Box::new(gone())),
        })
    }

    async fn end_sections(&mut self, verdict: Box<SectionsVerdict>) -> Option<Event> {
        let renderer = self.followed.as_ref()?.renderer;
        let problem = match self.outcome(&verdict.whole).await? {
            Ok(outcome) => return Some(self.finished(&outcome, verdict.whole)),
            Err(NoOutcome::Failed(error)) => renderer.problem(&error),
            Err(NoOutcome::Gone) => gone(),
        };
        Some(Event::Section(SectionEvent::Broken(verdict, Box::new(problem))))
    }

    /// Ends the comparison; `None` if it has already ended.
    async fn outcome(&mut self, verdict: &Verdict) -> Option<Result<ChangesOutcome, NoOutcome>> {
        let followed = self.followed.take()?;
        Some(match self.failed.take() {
            Some(error) => Err(NoOutcome::Failed(error)),
            None => followed.finish(verdict).await,
        })
    }

    fn finished(&self, outcome: &ChangesOutcome, verdict: Verdict) -> Event {
        let lines = last_lines(outcome, self.sent, &verdict, self.shape);
        Event::Finished(verdict, lines)
    }
}

#[derive(Serialize)]
struct RemovedLine {
    #[serde(rename = "@removed")]
    removed: RemovedMember,
}

/// A removed row. Its agent is named in a response about several.
#[derive(Serialize)]
struct RemovedMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    id: String,
}

impl RemovedMember {
    fn of(row: &RemovedRow, shape: ResponseShape) -> Self {
        let agent_id = match shape {
            ResponseShape::Plain => None,
            ResponseShape::Sections => Some(row.agent.to_string()),
        };
        Self { agent_id, id: row.id.to_string() }
    }
}

#[derive(Serialize)]
struct ChangesEndLine {
    #[serde(rename = "@end")]
    end: ChangesEnd,
}

#[derive(Serialize)]
struct ChangesEnd {
    complete: bool,
    count: u64,
    removed: usize,
    total: u64,
    as_of: String,
    #[serde(flatten)]
    cursor: CursorMembers,
}

/// The cursor, or why there is none.
#[derive(Serialize)]
struct CursorMembers {
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_reason: Option<String>,
}

impl CursorMembers {
    fn of(outcome: &ChangesOutcome) -> Self {
        match &outcome.cursor {
            Ok(cursor) => Self { cursor: Some(cursor.to_string()), cursor_reason: None },
            Err(reason) => Self { cursor: None, cursor_reason: Some(reason.to_string()) },
        }
    }
}

/// The lines after the rows in NDJSON: one for each removed row, and the end line.
pub(super) fn last_lines(
    outcome: &ChangesOutcome,
    sent: u64,
    verdict: &Verdict,
    shape: ResponseShape,
) -> Bytes {
    let mut lines = Vec::new();
    for row in &outcome.removed {
        push_line(&mut lines, &RemovedLine { removed: RemovedMember::of(row, shape) });
    }
    let end = ChangesEnd {
        complete: true,
        count: sent,
        removed: outcome.removed.len(),
        total: verdict.count,
        as_of: verdict.as_of.to_string(),
        cursor: CursorMembers::of(outcome),
    };
    push_line(&mut lines, &ChangesEndLine { end });
    lines.into()
}

/// The members of a document before its rows, without the closing brace; with `agent` if it is about one.
pub(super) fn changes_head(
    agent: Option<AgentId>,
    since: Option<&str>,
    outcome: &ChangesOutcome,
    verdict: &Verdict,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct ChangesHead<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_id: Option<String>,
        as_of: String,
        complete: bool,
        total: u64,
        since: Option<&'a str>,
        #[serde(flatten)]
        cursor: CursorMembers,
        removed: Vec<RemovedMember>,
    }
    let shape = if agent.is_some() { ResponseShape::Plain } else { ResponseShape::Sections };
    let head = ChangesHead {
        agent_id: agent.map(|agent| agent.to_string()),
        as_of: verdict.as_of.to_string(),
        complete: true,
        total: verdict.count,
        since,
        cursor: CursorMembers::of(outcome),
        removed: outcome.removed.iter().map(|row| RemovedMember::of(row, shape)).collect(),
    };
    open_object(&head)
}

/// The document around the rows of one agent.
pub(super) fn changes_envelope(
    agent: AgentId,
    since: Option<&str>,
    outcome: &ChangesOutcome,
    verdict: &Verdict,
) -> Framing {
    let mut text = changes_head(Some(agent), since, outcome, verdict);
    text.extend_from_slice(b",\"data\":[");
    Framing::Json { head: text.into() }
}
