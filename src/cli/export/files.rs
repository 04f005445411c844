//! The files that an export writes: rows first, the cursor last.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use super::cursor::CursorFile;
use super::fetch::ExportFailure;
use super::show::DisplayStyle;
use crate::cli::{Exit, print};
use crate::config::ExportOutput;
use crate::export::{ExportOutcome, Meter, PartFile, SinkError, TargetError, amount, number};

/// `EINVAL` and `ENOTSUP`: the output can't be synced because it is, for example, a pipe.
const NOTHING_TO_SYNC: [i32; 2] = [22, 95];

/// The files of an export.
#[derive(Debug)]
pub(super) struct OutputFiles {
    /// The future file; `None` for standard output.
    pub(super) part: Option<PartFile>,
    /// The cursor's file, if only changes are exported.
    pub(super) cursor: Option<CursorFile>,
}

impl OutputFiles {
    /// Opens the output. Changes go into a new file, because they don't replace earlier ones.
    pub(super) fn open(output: &ExportOutput, cursor: Option<CursorFile>) -> Result<Self, TargetError> {
        let opened = match (output, &cursor) {
            (ExportOutput::Stdout, _) => Ok(None),
            (ExportOutput::File(path), Some(_)) => PartFile::open_new(path).map(Some),
            (ExportOutput::File(path), None) => PartFile::open(path).map(Some),
        };
        match opened {
            Ok(part) => Ok(Self { part, cursor }),
            Err(error) => {
                if let Some(cursor) = cursor {
                    cursor.discard();
                }
                Err(error)
            }
        }
    }

    /// A handle to write rows with.
    pub(super) fn handle(&self) -> io::Result<File> {
        match &self.part {
            Some(part) => part.handle(),
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        }
    }

    /// Gives the complete file its name, then saves the cursor, and prints a summary.
    pub(super) fn finish(self, outcome: &ExportOutcome, style: DisplayStyle, meter: &Meter) -> Exit {
        for warning in &outcome.warnings {
            print::err_bounded(format_args!("warning: {warning}"));
        }
        let Self { part, cursor } = self;
        let place = match part {
            Some(part) => {
                let name = format!(": {}", part.target().display());
                part.commit().map(|()| name).map_err(ExportFailure::Target)
            }
            None => {
                synced(&io::stdout()).map(|()| String::new()).map_err(|error| SinkError::Io(error).into())
            }
        };
        let place = match place {
            Ok(place) => place,
            Err(failure) => return Self { part: None, cursor }.give_up(&failure, outcome.rows),
        };
        if style != DisplayStyle::Hidden {
            print::err_bounded(summary(outcome, meter, &place));
        }
        cursor.map_or(Exit::Done, |cursor| save(cursor, outcome))
    }

    /// Prints why there is no complete file, and leaves `FILE` and the cursor unchanged.
    pub(super) fn give_up(self, failure: &ExportFailure, rows: u64) -> Exit {
        let advice = match (&self.cursor, failure.is_cursor_gone()) {
            (Some(cursor), true) => format!(
                "\nThe gateway no longer knows what changed. Remove {} and run this command again with a new output file, which then \
                 has everything and replaces all earlier ones",
                cursor.path().display()
            ),
            _ => String::new(),
        };
        if let Some(cursor) = self.cursor {
            cursor.discard();
        }
        // The reader closed the pipe on purpose.
        if self.part.is_none() && failure.is_closed_pipe() {
            return Exit::ReaderGone;
        }
        print::err_bounded(format_args!("{failure}{advice}{}", left_behind(self.part, failure, rows)));
        Exit::Failed
    }
}

/// Saves the cursor for the next run.
fn save(cursor: CursorFile, outcome: &ExportOutcome) -> Exit {
    let path = cursor.path().display().to_string();
    let Some(verdict) = outcome.verdict() else { return Exit::Failed };
    let Some(next) = &verdict.cursor else {
        cursor.discard();
        let reason = verdict.cursor_reason.as_deref().unwrap_or("the gateway gave none");
        print::err_bounded(format_args!(
            "warning: {path} was not updated, because there is no cursor: {reason}"
        ));
        return Exit::Done;
    };
    match cursor.save(next) {
        Ok(()) => Exit::Done,
        Err(error) => {
            print::err_bounded(format_args!(
                "{error}\nThe executions are complete, but the next run will write them again"
            ));
            Exit::Failed
        }
    }
}

/// The last line of a successful export.
fn summary(outcome: &ExportOutcome, meter: &Meter, place: &str) -> String {
    let reading = meter.reading();
    let removed = match outcome.removed {
        0 => String::new(),
        removed => format!(", {} removed", number(removed)),
    };
    let as_of = outcome.verdict().and_then(|verdict| verdict.as_of.as_deref());
    let as_of = as_of.map_or_else(String::new, |as_of| format!(", complete as of {as_of}"));
    format!(
        "{} executions{removed}, {}{as_of}, in {:.1} s{place}",
        number(outcome.rows),
        amount(reading.bytes),
        reading.began.elapsed().as_secs_f64(),
    )
}

/// Syncs the output, because some write errors are reported only then.
fn synced(out: &io::Stdout) -> io::Result<()> {
    let file = File::from(out.as_fd().try_clone_to_owned()?);
    match file.sync_all() {
        Err(error) if error.raw_os_error().is_some_and(|code| NOTHING_TO_SYNC.contains(&code)) => Ok(()),
        synced => synced,
    }
}

/// Removes a part file that has no rows, or that could not be written because, for example, the disk is full. Returns a line
/// about any other part file, which may be useful although the next run does not continue it.
fn left_behind(part: Option<PartFile>, failure: &ExportFailure, rows: u64) -> String {
    let Some(part) = part else { return String::new() };
    let path = part.path().display().to_string();
    if rows == 0 || matches!(failure, ExportFailure::Sink(SinkError::Io(_))) {
        return match part.remove() {
            Ok(()) => String::new(),
            Err(error) => format!("\n{path} can't be removed: {error}"),
        };
    }
    format!(
        "\n{path} has {} executions and is not complete. Run the same command again to start over",
        number(rows)
    )
}
