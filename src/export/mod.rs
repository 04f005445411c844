//! Writes executions into a file: the parts of `fanfold export` that do not depend on where rows come from.
//!
//! Whatever the format of the file, rows arrive as NDJSON with an end record: a stream may have any size, and only the
//! end record says that it is complete. [`lines`] splits the stream, [`control`] tells control lines from rows,
//! [`encoder`] turns rows into the format of the file, and [`target`] writes `FILE.part` and renames it once the end
//! record says `complete: true` for as many rows as arrived. [`progress`] reports how far an export has got.

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
