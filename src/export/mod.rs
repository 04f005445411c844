//! Writes executions into a file: the parts of `fanfold export` that decide, and the file itself.
//!
//! Rows come as NDJSON with an end record, whatever the file is to hold: a stream has no largest size, and only the end
//! record says that it is complete. [`lines`] tells rows from control lines, [`encoder`] turns rows into the file's format,
//! and [`target`] writes `FILE.part` and renames it once the end record says `complete: true` for as many rows as came.
//! [`progress`] says how far an export is.

mod agents;
mod control;
mod encoder;
mod excel;
mod lines;
mod progress;
mod request;
mod sink;
mod target;

pub use agents::AskedAgents;
pub use control::{EndError, EndedAgent, ReadVerdict};
pub use encoder::{Encoder, FileFormat, FileRows};

pub use progress::{HistoryGoal, Meter, MeterReading, amount, number};
pub use request::ExportQuestion;
pub use sink::{Ending, ExportOutcome, ExportSink, SinkError};
pub use target::{PartFile, TargetError};
