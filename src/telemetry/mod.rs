//! What the process tells of itself: log lines and metrics. A leaf, it knows nothing of what it tells about.

mod held;
mod log;
mod metrics;
mod process;
mod readings;

pub use held::HeldBytes;
pub use log::{LogFormat, LogSetupError, set_up_log};
pub use metrics::{Answered, Metrics, Rows};
pub use process::{file_handles, open_files};
pub use readings::{Breaker, CacheReadings, GateReadings, Readings, UpstreamReadings};
