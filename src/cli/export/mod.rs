//! `fanfold export`: reads a stream of rows, writes it into a file, and renames that only when it is complete.
//!
//! There is one way to read: the gateway's own NDJSON with an end record. Without `--gateway`, a gateway is assembled in
//! this process and requested without a socket, so both ways share every rule about completeness.

mod cursor;
mod fetch;
mod files;
mod gateway;
mod show;
mod signals;

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;

use self::cursor::CursorFile;
use self::fetch::{ExportFailure, Fetch};
use self::files::OutputFiles;
use self::gateway::GatewayLink;
use self::show::{DisplayStyle, ProgressDisplay};
use super::Exit;
use super::assemble::assemble;
use super::process::{CommandError, run_small};
use crate::config::{Export, ExportSource};
use crate::domain::{Rounding, Timestamp};
use crate::export::{ExportQuestion, HistoryGoal, Meter, SinkError};
use crate::shutdown::Shutdown;
use crate::telemetry::Tracer;

/// Exports executions.
pub fn export(settings: &Export) -> Exit {
    run_small(&settings.log, exporting(settings))
}

async fn exporting(settings: &Export) -> Result<Exit, CommandError> {
    let say = |error: &dyn std::fmt::Display| CommandError(error.to_string());
    let shutdown = Shutdown::default();
    let link = link(&settings.source, &shutdown)?;
    // The cursor's file first: a run that can't keep its cursor must not begin.
    let cursor =
        settings.cursor_file.as_deref().map(CursorFile::open).transpose().map_err(|error| say(&error))?;
    let files = OutputFiles::open(&settings.output, cursor).map_err(|error| say(&error))?;
    let file = files.handle();
    let style = DisplayStyle::choose(settings.progress, &settings.output, settings.terminal);
    signals::watch(style, files.part.as_ref().map(|part| part.path().to_owned()))
        .map_err(|error| CommandError(format!("signals can't be handled: {error}")))?;
    let meter = Arc::new(Meter::new(goal(&settings.question)));
    let display = ProgressDisplay::start(style, Arc::clone(&meter));
    let target = match &files.cursor {
        Some(cursor) => settings.question.changes_target(cursor.since()),
        None => settings.question.target(),
    };
    let fetch =
        Fetch { link: &link, question: &settings.question, meter: &meter, style, shutdown: &shutdown };
    let fetched = match file {
        Ok(file) => fetch.run(&target, file).await,
        Err(error) => Err(ExportFailure::Sink(SinkError::Io(error))),
    };
    display.stop();
    match fetched {
        Ok(outcome) => Ok(files.finish(&outcome, style, &meter)),
        Err(failure) => Ok(files.give_up(&failure, meter.reading().rows)),
    }
}

/// The gateway to read from.
fn link(source: &ExportSource, shutdown: &Shutdown) -> Result<GatewayLink, CommandError> {
    match source {
        ExportSource::Gateway { url, token_file } => {
            let authorization = authorization("--token-file", token_file)?;
            GatewayLink::remote(url.clone(), authorization).map_err(CommandError)
        }
        ExportSource::Upstream { serve, key_file } => {
            let authorization = authorization("--upstream-key-file", key_file)?;
            let gateway = assemble(serve, &Tracer::default(), shutdown)
                .map_err(|faults| CommandError(faults.join("\n")))?;
            Ok(GatewayLink::inside(gateway.public, authorization))
        }
    }
}

/// The credential in a file, as a request carries it. The file's content is never repeated.
fn authorization(flag: &str, path: &Path) -> Result<HeaderValue, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|error| CommandError(format!("{flag}: {error}")))?;
    let value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| CommandError(format!("{flag}: the file must hold one credential on one line")))?;
    let mut value = value;
    value.set_sensitive(true);
    Ok(value)
}

/// What an export comes to, as far as the request says it.
fn goal(question: &ExportQuestion) -> HistoryGoal {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_micros(0).plus(now);
    let instant = |name| {
        let text = question.parameter(name)?;
        // A day of another zone begins a few hours earlier or later, which no bar shows.
        let date = format!("{text}T00:00:00Z");
        Timestamp::parse(text, Rounding::Down).or_else(|| Timestamp::parse(&date, Rounding::Down))
    };
    let newest = instant("to").map_or(now, |to| to.min(now));
    HistoryGoal {
        span: Some((newest, instant("from").unwrap_or(newest))),
        limit: question.parameter("limit").and_then(|limit| limit.parse().ok()),
        agents: question.agents.count().map(|count| count as u64),
    }
}
