//! Log lines, metrics and traces. A leaf module: it knows nothing about the modules that it reports on.

mod answered;
mod connections;
mod exposition;
mod held;
mod log;
mod metrics;
mod process;
mod pulse;
mod readings;
mod readings_writer;
mod requests;
mod shared_budget;
mod tier_readings;
mod traces;
mod vitals;

pub use answered::{Answered, BodyEnding, Rows};
pub use connections::{ConnectionCounts, CutReason, OpenConnection};
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
pub use shared_budget::SharedBudgetReadings;
pub use tier_readings::{TierReadings, TierServerReadings, TierStateReading};
pub use traces::{
    AnswerSpan, Begun, EndpointLocation, Identifiers, RequestSpan, RequestSpanStart, Trace, TraceSettings,
    Tracer, Tracing, TracingError,
};
pub use vitals::Vitals;
