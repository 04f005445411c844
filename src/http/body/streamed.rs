//! A body that is sent while its rows are read.
//!
//! The client pulls: nothing more is read until it has accepted what is ready. The body ends in one of three
//! ways:
//!
//! - complete: the last row, the end record if the client wants one, the end of the body;
//! - broken: the rows that were ready, the end record with the reason, then an error. The server sends
//!   everything before the error, then breaks the connection or resets the stream; a gzip member lacks its
//!   trailer;
//! - abandoned: the body is dropped, and the answer with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::time::sleep;

use super::{StreamEnd, end_record, section_line, sections_end_record};
use crate::domain::{AgentId, EntrySlice};
use crate::encode::{BodyPart, CHUNK, Coding, CompressionPool, Framing, GzipMember};
use crate::engine::{Answer, AskError, SectionsVerdict, Verdict};
use crate::http::access_log::RequestLog;
use crate::http::places::ResponsePlace;
use crate::http::problem::{ErrorRenderer, Problem};
use crate::http::question::EndRecord;
use crate::shutdown::Shutdown;

/// The longest silence before a blank line is sent. Some idle timers on the way are 60 s, and some proxies
/// count twice.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An event while an answer is read.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next rows.
    Rows(EntrySlice),
    /// There are no more rows. The verdict on the complete answer.
    Reached(Verdict),
    /// There are no more rows. The text replaces the end record.
    Finished(Verdict, Bytes),
    /// More rows exist but can't be read; the verdict on those that were.
    Broken(Verdict, AskError),
    /// There may be more rows, but the caller is no longer allowed to read them. The verdict covers the rows
    /// that were sent.
    Refused(Verdict, Box<Problem>),
    /// An event that only a response with sections has.
    Section(SectionEvent),
}

/// An event of a response with sections, rows aside.
#[derive(Debug)]
pub(crate) enum SectionEvent {
    /// The rows of this agent follow, if it has any.
    Begins(AgentId),
    /// There are no more sections; the verdict on all of them.
    Reached(Box<SectionsVerdict>),
    /// The rest can't be read; the verdict on what was sent.
    Broken(Box<SectionsVerdict>, Box<Problem>),
}

/// Reads an answer to its end, to the end of the drain, or until its caller is `refused` the rest.
pub(crate) fn events(
    answer: Answer,
    shutdown: Shutdown,
    refused: BoxFuture<'static, Problem>,
) -> impl Stream<Item = Event> + Send {
    // Boxed, because all of them are moved for every event.
    stream::unfold(Some(Box::new((answer, shutdown, refused))), async |state| {
        let mut state = state?;
        let (answer, shutdown, refused) = &mut *state;
        let next = if shutdown.is_ended() {
            Err(AskError::ShuttingDown)
        } else {
            // Rows that are ready are sent before the end of the drain is checked. A refusal precedes them,
            // because a slow reader always has rows ready.
            tokio::select! {
                biased;
                problem = refused => return Some((Event::Refused(answer.verdict(), Box::new(problem)), None)),
                next = answer.next() => next,
                () = shutdown.end_ordered() => Err(AskError::ShuttingDown),
            }
        };
        Some(match next {
            Ok(Some(rows)) => (Event::Rows(rows), Some(state)),
            Ok(None) => (Event::Reached(answer.verdict()), None),
            Err(error) => (Event::Broken(answer.verdict(), error), None),
        })
    })
}

/// How a streamed body is built.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// The content coding.
    pub(crate) coding: Coding,
    /// Whether the last line says how the body ended, and blank lines break long silences.
    pub(crate) end_record: EndRecord,
    /// Renders an error for the client.
    pub(crate) renderer: ErrorRenderer,
    /// Records what was sent.
    pub(crate) request_log: Arc<RequestLog>,
    /// Deflates and inflates rows.
    pub(crate) compression_pool: CompressionPool,
    /// The response's place, released when the body is dropped.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) place: ResponsePlace,
}

impl Streamed {
    /// Builds the body.
    pub(crate) fn body(self, events: impl Stream<Item = Event> + Send + 'static) -> Body {
        let member = match self.coding {
            Coding::Gzip => Some(GzipMember::new()),
            Coding::Identity => None,
        };
        let (parts, chunks) = (Vec::new(), VecDeque::new());
        let (events, phase) = (events.boxed(), StreamPhase::Rows);
        // Boxed, because it is moved for every chunk.
        let run = Box::new(StreamRun {
            events,
            member,
            parts,
            chunks,
            given: 0,
            given_of_section: 0,
            phase,
            with: self,
        });
        Body::from_stream(stream::unfold(run, async |mut run| Some((run.step().await?, run))))
    }
}

/// The phase of a body.
#[derive(Clone, Copy)]
enum StreamPhase {
    Rows,
    Ending,
    Breaking,
    Over,
}

struct StreamRun {
    events: stream::BoxStream<'static, Event>,
    /// The unfinished gzip member, if the body is compressed.
    member: Option<GzipMember>,
    /// Parts to be encoded.
    parts: Vec<BodyPart>,
    /// Chunks ready to be sent.
    chunks: VecDeque<Bytes>,
    /// The number of rows in parts and chunks or sent.
    given: u64,
    /// How many of them belong to the current section.
    given_of_section: u64,
    phase: StreamPhase,
    with: Streamed,
}

impl StreamRun {
    /// The next chunk.
    async fn step(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Some(Ok(chunk));
            }
            if !self.parts.is_empty() {
                match self.make_chunks().await {
                    Ok(()) => continue,
                    Err(error) => {
                        self.phase = StreamPhase::Over;
                        return Some(Err(error));
                    }
                }
            }
            match self.phase {
                StreamPhase::Rows => self.read().await,
                StreamPhase::Ending => {
                    self.phase = StreamPhase::Over;
                    if let Some(member) = self.member.take() {
                        self.chunks.extend(member.finish());
                    }
                }
                StreamPhase::Breaking => {
                    self.phase = StreamPhase::Over;
                    return Some(Err(io::Error::other("the response could not be read to its end")));
                }
                StreamPhase::Over => return None,
            }
        }
    }

    /// Encodes the parts as chunks.
    async fn make_chunks(&mut self) -> io::Result<()> {
        let parts = std::mem::take(&mut self.parts);
        match &mut self.member {
            None => self.chunks.extend(self.with.compression_pool.plain(parts).await?),
            Some(member) => {
                let packed = self.with.compression_pool.pack(parts).await?;
                packed.iter().for_each(|part| member.put(part));
                self.chunks.extend(member.take());
            }
        }
        Ok(())
    }

    /// Waits for the next event, and also takes those that are ready.
    async fn read(&mut self) {
        let silence = async {
            match self.with.end_record {
                EndRecord::Wanted => sleep(KEEP_ALIVE).await,
                EndRecord::Absent => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            event = self.events.next() => event,
            () = silence => {
                self.parts.push(BodyPart::Text(Bytes::from_static(b"\n")));
                return;
            }
        };
        self.take(event);
        let mut length: usize = self.parts.iter().map(BodyPart::len).sum();
        while length < CHUNK
            && let StreamPhase::Rows = self.phase
            && let Some(event) = self.events.next().now_or_never()
        {
            self.take(event);
            length += self.parts.last().map_or(0, BodyPart::len);
        }
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Rows(rows)) => {
                self.given += rows.len() as u64;
                self.given_of_section += rows.len() as u64;
                self.with.request_log.add_rows(rows.len() as u64);
                self.parts.push(Framing::Ndjson.rows(rows));
            }
            Some(Event::Reached(verdict)) => {
                self.end(&verdict, StreamEnd::Reached);
                self.phase = StreamPhase::Ending;
            }
            Some(Event::Finished(verdict, lines)) => {
                self.with.request_log.note_verdict(&verdict);
                self.parts.push(BodyPart::Text(lines));
                self.phase = StreamPhase::Ending;
            }
            Some(Event::Broken(verdict, error)) => {
                let problem = self.with.renderer.problem(&error);
                self.end_early(verdict, &problem);
            }
            Some(Event::Refused(verdict, problem)) => self.end_early(verdict, &problem),
            Some(Event::Section(event)) => self.take_section(event),
            // An answer always ends with a verdict. If one ever did not, the body must not look complete.
            None => self.phase = StreamPhase::Breaking,
        }
    }

    fn take_section(&mut self, event: SectionEvent) {
        match event {
            SectionEvent::Begins(agent) => {
                self.given_of_section = 0;
                self.parts.push(BodyPart::Text(section_line(agent)));
            }
            SectionEvent::Reached(verdict) => {
                self.end_sections(&verdict, StreamEnd::Reached);
                self.phase = StreamPhase::Ending;
            }
            SectionEvent::Broken(mut verdict, problem) => {
                // As for a single answer: of the rows known from the start, only those that were sent count.
                verdict.whole.count = self.given;
                if let Some(section) = &mut verdict.under_way {
                    section.verdict.count = self.given_of_section;
                }
                self.with.request_log.note_problem(&problem);
                self.end_sections(&verdict, StreamEnd::Broken(&problem));
                self.phase = StreamPhase::Breaking;
            }
        }
    }

    fn end_sections(&mut self, verdict: &SectionsVerdict, ended: StreamEnd<'_>) {
        let Streamed { renderer, request_log, .. } = &self.with;
        request_log.note_verdict(&verdict.whole);
        let line = sections_end_record(verdict, ended, *renderer, &request_log.request_id);
        self.parts.push(BodyPart::Text(line));
    }

    fn end_early(&mut self, mut verdict: Verdict, problem: &Problem) {
        // The verdict of an answer that was fully cached counts all of its rows, also those that were not
        // sent.
        verdict.count = self.given;
        self.with.request_log.note_problem(problem);
        self.end(&verdict, StreamEnd::Broken(problem));
        self.phase = StreamPhase::Breaking;
    }

    fn end(&mut self, verdict: &Verdict, ended: StreamEnd<'_>) {
        let Streamed { renderer, request_log, .. } = &self.with;
        request_log.note_verdict(verdict);
        match self.with.end_record {
            EndRecord::Wanted => {
                self.parts.push(BodyPart::Text(end_record(
                    verdict,
                    ended,
                    *renderer,
                    &request_log.request_id,
                )));
            }
            EndRecord::Absent => {}
        }
    }
}

#[cfg(test)]
#[path = "streamed_tests.rs"]
mod tests;
