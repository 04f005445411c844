//! Log lines, metrics and traces. A leaf: it knows nothing about the modules that it reports on.

mod answered;
mod connections;
mod error_chain;
mod exposition;
mod held;
mod log;
mod metrics;
mod process;
mod pulse;
mod readings;
mod readings_writer;
mod requests;
mod tier_readings;
mod traces;
mod vitals;

pub use answered::{Answered, BodyEnding, Rows};
pub use connections::{ConnectionCounts, CutReason, OpenConnection};
pub use error_chain::with_causes;
pub use exposition::Exposition;
pub use held::HeldBytes;
pub use log::{LogFormat, LogSetupError, dropped_log_lines, flush_log, set_up_log};
pub use metrics::Metrics;
pub use process::{file_handles, open_files};
pub use pulse::Pulse;
pub use readings::{
    BreakerState, BudgetHoldings, CacheReadings, ChangeLogReadings, GateReadings, Readings, UpstreamReadings,
};
pub use requests::{Failed, RequestWatch, WatchedRequest};
pub use tier_readings::{SharedBudgetReadings, TierReadings, TierServerReadings, TierStateReading};
pub use traces::{
    AnswerSpan, Begun, EndpointLocation, Identifiers, RequestSpan, RequestSpanStart, Trace, TraceSettings,
    Tracer, Tracing, TracingError,
};
pub use vitals::Vitals;
