use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::control::{ControlLine, EndError, ReadVerdict};
use super::encoder::Encoder;
use super::lines::{LineSplitter, TooLongLine};
use super::progress::Meter;
use crate::domain::{Rounding, Timestamp};
use crate::shape::NotARow;

/// The buffer size in bytes from which on encoded rows are written.
const BUFFER: usize = 256 << 10;

/// Writes the rows of a response to a file. It blocks, so it needs a thread of its own.
#[derive(Debug)]
pub struct ExportSink {
    file: File,
    encoder: Encoder,
    meter: Arc<Meter>,
    buffer: Vec<u8>,
    rows: u64,
    removed: u64,
    end: Option<ReadVerdict>,
    /// The last row that was encoded.
    last: Vec<u8>,
}

/// Why a response could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing to the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The response is not in the format of the gateway.
    #[error("{0}")]
    Malformed(String),
}

/// What a response amounted to.
#[derive(Debug)]
pub struct ExportOutcome {
    /// The number of rows written.
    pub rows: u64,
    /// The number of removed executions.
    pub removed: u64,
    /// How the response ended.
    pub ending: Ending,
    /// What the user should know before using the file.
    pub warnings: Vec<String>,
}

/// How a response ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an end record that says `complete: true` for as many rows as arrived.
    Complete(Box<ReadVerdict>),
    /// With an end record that says `complete: false`.
    Failed(EndError),
    /// With an end record for another number of rows than arrived.
    Miscounted {
        /// Rows and removals, by the end record.
        said: u64,
        /// Rows and removals that arrived.
        came: u64,
    },
    /// Without an end record.
    CutOff,
}

impl ExportOutcome {
    /// The verdict of a complete response.
    pub fn verdict(&self) -> Option<&ReadVerdict> {
        match &self.ending {
            Ending::Complete(end) => Some(end),
            Ending::Failed(_) | Ending::Miscounted { .. } | Ending::CutOff => None,
        }
    }
}

impl From<TooLongLine> for SinkError {
    fn from(error: TooLongLine) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<NotARow> for SinkError {
    fn from(_: NotARow) -> Self {
        Self::Malformed("a row of the response is not a JSON object".to_owned())
    }
}

impl ExportSink {
    /// A sink that writes to this file.
    pub fn new(file: File, encoder: Encoder, meter: Arc<Meter>) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { file, encoder, meter, buffer, rows: 0, removed: 0, end: None, last: Vec::new() }
    }

    /// Writes all chunks up to the end of the stream.
    ///
    /// # Errors
    /// [`SinkError`]. Rows before the error are still written, if possible.
    pub fn write_all(mut self, mut chunks: Receiver<Bytes>) -> Result<ExportOutcome, SinkError> {
        self.encoder.begin(&mut self.buffer);
        let taken = self.take(&mut chunks);
        if taken.is_err() {
            let _first_error_counts = self.flush();
        }
        let is_whole = taken?;
        let ending = self.ending(is_whole);
        if let Ending::Complete(end) = &ending {
            self.encoder.end(end, &mut self.buffer);
        }
        self.flush()?;
        Ok(ExportOutcome {
            rows: self.rows,
            removed: self.removed,
            ending,
            warnings: self.encoder.warnings(),
        })
    }

    /// Encodes and writes all chunks. Returns whether the last line has its line feed.
    fn take(&mut self, chunks: &mut Receiver<Bytes>) -> Result<bool, SinkError> {
        let mut lines = LineSplitter::default();
        loop {
            let chunk = match chunks.try_recv() {
                Ok(chunk) => chunk,
                // The reader of a pipe should not wait for a full buffer.
                Err(TryRecvError::Empty) => {
                    self.flush()?;
                    match chunks.blocking_recv() {
                        Some(chunk) => chunk,
                        None => break,
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            lines.split(chunk, |line| self.line(line))?;
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
        }
        Ok(!lines.is_within_a_line())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), SinkError> {
        if self.end.is_some() {
            return Err(SinkError::Malformed("the response continues after its end record".to_owned()));
        }
        match ControlLine::read(line) {
            None => {
                self.encoder.row(line, &mut self.buffer)?;
                self.rows += 1;
                self.last.clear();
                self.last.extend_from_slice(line);
            }
            Some(ControlLine::Agent(id)) => {
                let agent =
                    id.parse().map_err(|_| SinkError::Malformed(format!("{id:?} is not an agent id")))?;
                self.encoder.agent(agent, &mut self.buffer);
                self.meter.began_agent();
            }
            Some(ControlLine::Removed) => {
                self.encoder.removed(line, &mut self.buffer);
                self.removed += 1;
            }
            Some(ControlLine::End(end)) => self.end = Some(*end),
            Some(ControlLine::Unknown) => {}
        }
        Ok(())
    }

    fn ending(&mut self, is_whole: bool) -> Ending {
        let came = self.rows + self.removed;
        match self.end.take() {
            None => Ending::CutOff,
            Some(_) if !is_whole => Ending::CutOff,
            Some(end) if !end.complete => Ending::Failed(end.error.unwrap_or_else(|| EndError {
                code: "incomplete".to_owned(),
                detail: "the response says that a part is missing".to_owned(),
                request_id: String::new(),
            })),
            Some(end) if end.count.saturating_add(end.removed) != came => {
                Ending::Miscounted { said: end.count.saturating_add(end.removed), came }
            }
            Some(end) => Ending::Complete(Box::new(end)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.buffer)?;
        self.meter.reached(created_at(&self.last));
        self.meter.wrote(self.rows, self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }
}

/// When a row was created, if it says so.
fn created_at(row: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct DatedRow {
        created_at: Option<String>,
    }

    let row: DatedRow = serde_json::from_slice(row).ok()?;
    Timestamp::parse(&row.created_at?, Rounding::Down)
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
