//! `fanfold export`: writes a stream of rows into a file, which gets its name only when it is complete.
//!
//! Rows are always read as a gateway's NDJSON with an end record. Without `--gateway`, a gateway is assembled in this process
//! and called without a socket, so that both cases share every rule about completeness.

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
use crate::clock::SteadyClock;
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
    // The cursor's file comes first, because an export that can't save its cursor must not begin.
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

/// The credential in a file, as the value of a request's `Authorization`. No error repeats the file's content.
fn authorization(flag: &str, path: &Path) -> Result<HeaderValue, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|error| CommandError(format!("{flag}: {error}")))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|_| CommandError(format!("{flag}: the file must hold one credential on one line")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// How much there is to export, as far as the request tells.
fn goal(question: &ExportQuestion) -> HistoryGoal {
    let now = SteadyClock::from_wall().now();
    let instant = |name| {
        let text = question.parameter(name)?;
        // In UTC: a few hours make no visible difference in a progress bar.
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
