use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

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
}

/// Sends log lines to stderr from now on, those that pass the filter; without a format, in the one for its reader.
///
/// Stdout belongs to what a command prints.
///
/// # Errors
/// [`LogSetupError`].
pub fn set_up_log(filter: &str, format: Option<LogFormat>) -> Result<(), LogSetupError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format.unwrap_or_else(LogFormat::for_reader) {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).finish().try_init()?,
    }
    Ok(())
}
