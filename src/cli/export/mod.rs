//! `fanfold export`: reads a stream of rows, writes it into a file, and renames that only when it is complete.
//!
//! There is one way to read: the gateway's own NDJSON with an end record. Without `--gateway`, a gateway is assembled in
//! this process and requested without a socket, so both ways share every rule about completeness.

mod fetch;
mod gateway;
mod show;
mod signals;

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;

use self::fetch::{ExportFailure, Fetch};
use self::gateway::GatewayLink;
use self::show::{DisplayStyle, ProgressDisplay};
use super::assemble::assemble;
use super::process::{CommandError, run};
use super::{Exit, print};
use crate::config::{Export, ExportOutput, ExportSource};
use crate::domain::{Rounding, Timestamp};
use crate::export::{ExportOutcome, ExportQuestion, HistoryGoal, Meter, PartFile, SinkError, amount, number};
use crate::shutdown::Shutdown;
use crate::telemetry::Tracer;

/// `EINVAL` and `ENOTSUP`: what is written to has nothing to sync, as a pipe.
const NOTHING_TO_SYNC: [i32; 2] = [22, 95];

/// Exports executions.
pub fn export(settings: &Export) -> Exit {
    run(&settings.log, exporting(settings))
}

async fn exporting(settings: &Export) -> Result<Exit, CommandError> {
    let say = |error: &dyn std::fmt::Display| CommandError(error.to_string());
    let shutdown = Shutdown::default();
    let link = link(&settings.source, &shutdown)?;
    let part = match &settings.output {
        ExportOutput::Stdout => None,
        ExportOutput::File(path) => Some(PartFile::open(path).map_err(|error| say(&error))?),
    };
    let file = match &part {
        Some(part) => part.handle(),
        None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
    };
    let style = DisplayStyle::choose(settings.progress, &settings.output, settings.terminal);
    signals::watch(style, part.as_ref().map(|part| part.path().to_owned()))
        .map_err(|error| CommandError(format!("signals can't be handled: {error}")))?;
    let meter = Arc::new(Meter::new(goal(&settings.question)));
    let display = ProgressDisplay::start(style, Arc::clone(&meter));
    let fetch =
        Fetch { link: &link, question: &settings.question, meter: &meter, style, shutdown: &shutdown };
    let written = fetch.run(file.map_err(|error| say(&error))?).await;
    display.stop();
    let finished = match written {
        Ok(written) => finish(part, written, style, &meter),
        Err(failure) => Err((failure, part)),
    };
    match finished {
        Ok(()) => Ok(Exit::Done),
        // Who reads no more knows it.
        Err((failure, None)) if failure.is_closed_pipe() => Ok(Exit::ReaderGone),
        Err((failure, part)) => {
            print::last_words(format_args!("{failure}{}", left_behind(part, &failure, meter.reading().rows)));
            Ok(Exit::Failed)
        }
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

/// Puts what was written in its place, and says so.
fn finish(
    part: Option<PartFile>,
    written: ExportOutcome,
    style: DisplayStyle,
    meter: &Meter,
) -> Result<(), (ExportFailure, Option<PartFile>)> {
    for warning in &written.warnings {
        print::last_words(format_args!("warning: {warning}"));
    }
    let place = match part {
        Some(part) => {
            let name = part.target().display().to_string();
            part.commit().map_err(|error| (ExportFailure::Target(error), None))?;
            format!(": {name}")
        }
        None => {
            synced(&io::stdout()).map_err(|error| (ExportFailure::Sink(SinkError::Io(error)), None))?;
            String::new()
        }
    };
    if style != DisplayStyle::Hidden {
        let reading = meter.reading();
        let as_of = written.as_of().map_or_else(String::new, |as_of| format!(", complete as of {as_of}"));
        print::last_words(format_args!(
            "{} executions, {}{as_of}, in {:.1} s{place}",
            number(written.rows),
            amount(reading.bytes),
            reading.began.elapsed().as_secs_f64(),
        ));
    }
    Ok(())
}

/// Some errors of writing come only now.
fn synced(out: &io::Stdout) -> io::Result<()> {
    let file = File::from(out.as_fd().try_clone_to_owned()?);
    match file.sync_all() {
        Err(error) if error.raw_os_error().is_some_and(|code| NOTHING_TO_SYNC.contains(&code)) => Ok(()),
        synced => synced,
    }
}

/// Removes a part file that is of no use, and says of another what it is.
///
/// It is of no use without rows, and where the disk has no room: the next run begins it anew in any case.
fn left_behind(part: Option<PartFile>, failure: &ExportFailure, rows: u64) -> String {
    let Some(part) = part else { return String::new() };
    let path = part.path().display().to_string();
    if rows == 0 || matches!(failure, ExportFailure::Sink(SinkError::Io(_))) {
        return match part.remove() {
            Ok(()) => String::new(),
            Err(error) => format!("\n{path} is left behind: {error}"),
        };
    }
    format!(
        "\n{path} has {} executions and is not complete. Run the same command again to start over",
        number(rows)
    )
}
