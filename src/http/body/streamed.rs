//! A body that is sent while it is read.
//!
//! It is pulled: what its reader has not taken is not asked for. It ends in one of three ways. Whole: the last row, the end
//! record if one is wanted, the end of the body. Broken: what was ready, the end record with the reason, and then an error, by
//! which the server breaks the connection or resets the stream; a gzip member is left without its trailer. Left: dropped,
//! and the answer with it.
//!
//! An error is held back until what precedes it had time to reach the socket: hyper drops what it has buffered along
//! with the connection, and rows that were ready would be lost, even the status line.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::{Ended, end_record};
use crate::domain::EntrySlice;
use crate::encode::{Coding, Compressor, Flush, Framer, Framing, Gzip};
use crate::engine::{Answer, AskError, Verdict};
use crate::http::account::Account;
use crate::http::problem::Face;
use crate::http::question::EndRecord;
use crate::shutdown::Shutdown;

/// The longest silence: some idle timers along the way are 60 s, and some count twice.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long what precedes an error has to reach the socket. Long for a local hop, short for a person; a reader too slow
/// for it loses rows of a body that was to break anyway.
const FLUSH_TIME: Duration = Duration::from_millis(250);

/// What happens to an answer while it is read.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next rows.
    Rows(EntrySlice),
    /// There are no more, and this is the verdict.
    Reached(Verdict),
    /// There are more, but they can't be had; the verdict is of what was given.
    Broken(Verdict, AskError),
}

/// Reads an answer to its end, or until everything has to end.
pub(crate) fn events(answer: Answer, shutdown: Shutdown) -> impl Stream<Item = Event> + Send {
    stream::unfold(Some((answer, shutdown)), async |state| {
        let (mut answer, shutdown) = state?;
        let next = tokio::select! {
            biased;
            () = shutdown.end_ordered() => Err(AskError::ShuttingDown),
            next = answer.next() => next,
        };
        Some(match next {
            Ok(Some(rows)) => (Event::Rows(rows), Some((answer, shutdown))),
            Ok(None) => (Event::Reached(answer.verdict()), None),
            Err(error) => (Event::Broken(answer.verdict(), error), None),
        })
    })
}

/// What a streamed body is made with.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// How it is compressed.
    pub(crate) coding: Coding,
    /// Whether it ends with a line that says how it ended, and a blank line breaks long silences.
    pub(crate) end_record: EndRecord,
    /// How the client is told of an error.
    pub(crate) face: Face,
    /// Where it is noted what was sent.
    pub(crate) account: Arc<Account>,
    /// Who compresses.
    pub(crate) compressor: Compressor,
    /// The answer's place among those under way. Its drop, with the body's, gives it back.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) place: OwnedSemaphorePermit,
}

impl Streamed {
    /// The body.
    pub(crate) fn body(self, events: impl Stream<Item = Event> + Send + 'static) -> Body {
        let gzip = match self.coding {
            Coding::Gzip => Some(Gzip::new()),
            Coding::Identity => None,
        };
        let run = Run {
            events: events.boxed(),
            framer: Framer::new(Framing::Ndjson),
            gzip,
            queue: VecDeque::new(),
            phase: Phase::Rows,
            with: self,
        };
        Body::from_stream(stream::unfold(run, async |mut run| Some((run.step().await?, run))))
    }
}

/// Where a body is.
#[derive(Clone, Copy)]
enum Phase {
    Rows,
    Ending,
    Breaking,
    Over,
}

struct Run {
    events: stream::BoxStream<'static, Event>,
    framer: Framer,
    gzip: Option<Gzip>,
    queue: VecDeque<Bytes>,
    phase: Phase,
    with: Streamed,
}

impl Run {
    /// The next chunk.
    async fn step(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.ready().await {
                Ok(None) => {}
                Ok(Some(chunk)) => return Some(Ok(chunk)),
                Err(error) => {
                    self.phase = Phase::Over;
                    return Some(Err(error));
                }
            }
            match self.phase {
                Phase::Rows => self.read().await,
                Phase::Ending => {
                    self.phase = Phase::Over;
                    if let Some(gzip) = self.gzip.take() {
                        return Some(gzip.finish());
                    }
                }
                Phase::Breaking => {
                    sleep(FLUSH_TIME).await;
                    self.phase = Phase::Over;
                    return Some(Err(io::Error::other("the answer could not be read to its end")));
                }
                Phase::Over => return None,
            }
        }
    }

    /// A chunk of what is laid out already, compressed if need be.
    async fn ready(&mut self) -> io::Result<Option<Bytes>> {
        match self.gzip.take() {
            None => Ok(self.queue.pop_front()),
            Some(gzip) if self.queue.is_empty() => {
                self.gzip = Some(gzip);
                Ok(None)
            }
            Some(gzip) => {
                let chunks = std::mem::take(&mut self.queue).into();
                let (gzip, chunk) = self.with.compressor.push(gzip, chunks, Flush::Sync).await?;
                self.gzip = Some(gzip);
                Ok(Some(chunk))
            }
        }
    }

    /// Waits for what happens next, and lays it out.
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
                self.queue.push_back(Bytes::from_static(b"\n"));
                return;
            }
        };
        match event {
            Some(Event::Rows(rows)) => {
                self.with.account.add_rows(rows.len() as u64);
                self.queue.extend(self.framer.page(std::slice::from_ref(&rows)));
            }
            Some(Event::Reached(verdict)) => {
                self.end(&verdict, Ended::Reached);
                self.phase = Phase::Ending;
            }
            Some(Event::Broken(verdict, error)) => {
                let problem = self.with.face.problem(&error);
                self.with.account.note_problem(&problem);
                self.end(&verdict, Ended::Broken(&problem));
                self.phase = Phase::Breaking;
            }
            // Nothing follows a verdict, and one always comes; were it not so, the body must not look whole.
            None => self.phase = Phase::Breaking,
        }
    }

    fn end(&mut self, verdict: &Verdict, ended: Ended<'_>) {
        let Streamed { face, account, .. } = &self.with;
        account.note_verdict(verdict);
        match self.with.end_record {
            EndRecord::Wanted => {
                self.queue.push_back(end_record(verdict, ended, *face, &account.request_id));
            }
            EndRecord::Absent => {}
        }
    }
}

#[cfg(test)]
#[path = "streamed_tests.rs"]
mod tests;
