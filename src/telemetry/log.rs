mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use self::queue::LogQueue;

/// The queue of the process's log, once it is set up.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Text on a terminal, JSON otherwise.
    fn for_reader() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Why the log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    /// The filter can't be parsed.
    #[error("the log filter is not valid: {0}")]
    Filter(#[from] ParseError),
    /// The process already has a subscriber.
    #[error("the log is already set up: {0}")]
    Twice(#[from] TryInitError),
    /// The system can't provide a thread or file handle.
    #[error("the log can't be written: {0}")]
    Writer(#[from] io::Error),
}

/// Writes log lines that pass the filter to stderr from now on, and panics as log lines. If no format is given, it is text on
/// a terminal and JSON otherwise.
///
/// A separate thread writes the lines. If the reader of stderr stops, lines are dropped and counted, and nothing blocks.
/// Stdout is reserved for what a command prints.
///
/// # Errors
/// [`LogSetupError`].
pub fn set_up_log(filter: &str, format: Option<LogFormat>) -> Result<(), LogSetupError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let queue = QUEUE.get_or_init(LogQueue::default);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| queue.clone());
    match format.unwrap_or_else(LogFormat::for_reader) {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).finish().try_init()?,
    }
    // Not `std::io::stderr()`, because other writers would wait for its lock.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    std::thread::Builder::new().name("log".to_owned()).spawn(|| queue.write_to(sink, report_dropped))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The number of log lines that were dropped because their reader had stopped.
pub fn dropped_log_lines() -> u64 {
    QUEUE.get().map_or(0, LogQueue::dropped)
}

/// Waits until the log is written, for at most this long.
pub fn flush_log(within: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(within);
    }
}

fn report_dropped(lines: u64) {
    tracing::warn!(target: "fanfold::process", lines, "{lines} log lines were dropped because nobody read them.");
}

/// Logs a panic. The default hook would write to stderr and block if nobody reads it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (thread, location) = (thread.name().unwrap_or("unnamed"), panic.location().map(ToString::to_string));
    let location = location.as_deref().unwrap_or("an unknown place");
    let message = panic.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| tracing::field::display(&backtrace));
    tracing::error!(target: "fanfold::process", thread, location, backtrace, "Thread '{thread}' panicked at {location}: {message}.");
}
