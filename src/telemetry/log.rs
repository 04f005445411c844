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

/// The queue of the process's log, once that is set up.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The form for whoever reads stderr: text on a terminal, JSON elsewhere.
    fn for_reader() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    /// The filter can't be read.
    #[error("the log filter can't be read: {0}")]
    Filter(#[from] ParseError),
    /// The process already has a subscriber.
    #[error("the log was set up before: {0}")]
    Twice(#[from] TryInitError),
    /// The system gives no thread or file handle for it.
    #[error("the log can't be written: {0}")]
    Writer(#[from] io::Error),
}

/// Sends log lines to stderr from now on, those that pass the filter; without a format, in the one for its reader.
/// Panics become log lines, too.
///
/// A thread of its own writes them: a reader that stops costs lines, which are counted, and blocks nobody. Stdout
/// belongs to what a command prints.
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
    // Not `std::io::stderr()`: whoever else writes there would wait for its lock.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    std::thread::Builder::new().name("log".to_owned()).spawn(|| queue.write_to(sink, tell_dropped))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// How many log lines were dropped because their reader had stopped.
pub fn dropped_log_lines() -> u64 {
    QUEUE.get().map_or(0, LogQueue::dropped)
}

/// Waits until the log is written, for no longer than this.
pub fn flush_log(within: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(within);
    }
}

fn tell_dropped(lines: u64) {
    tracing::warn!(target: "fanfold::process", lines, "{lines} log lines were dropped: nobody read them.");
}

/// The default hook would write to stderr, and block where nobody reads.
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
