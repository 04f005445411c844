//! Shows on stderr how far an export is, from a separate thread, so that a reader of stderr that stops blocks nothing else.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::config::{ExportOutput, ProgressMode, TerminalKind};
use crate::export::Meter;

/// How often the line on a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(200);

/// How often a line is added if stderr is not a terminal.
const LINE: Duration = Duration::from_secs(10);

/// How long erasing the line may take when the export ends.
const LAST_TIME: Duration = Duration::from_millis(200);

/// The width of a terminal that does not report one.
const USUAL_COLUMNS: usize = 80;

/// The terminal sequence that goes to the beginning of the line and erases it.
const ERASE: &str = "\r\x1b[K";

/// Shows progress until it is dropped, or stopped.
#[derive(Debug)]
pub(super) struct ProgressDisplay {
    /// Dropped to stop.
    running: Option<SyncSender<()>>,
    ended: Receiver<()>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DisplayStyle {
    /// One line, redrawn in place.
    Bar,
    /// A new line every ten seconds.
    Lines,
    /// Not at all.
    Hidden,
}

impl DisplayStyle {
    /// The style for these settings and the kinds of stdout and stderr.
    pub(super) fn choose(mode: ProgressMode, output: &ExportOutput, terminal: TerminalKind) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let rows_are_shown =
            *output == ExportOutput::Stdout && is_terminal && std::io::stdout().is_terminal();
        match (mode, terminal) {
            (ProgressMode::Never, _) => Self::Hidden,
            (ProgressMode::Auto, _) if rows_are_shown => Self::Hidden,
            (_, TerminalKind::Usual) if is_terminal => Self::Bar,
            (_, TerminalKind::Usual | TerminalKind::Dumb) => Self::Lines,
        }
    }

    /// What must be written before other text, so that the text gets its own line.
    pub(super) const fn before_other_text(self) -> &'static str {
        match self {
            Self::Bar => ERASE,
            Self::Lines | Self::Hidden => "",
        }
    }
}

impl ProgressDisplay {
    /// Starts to show what the meter says.
    pub(super) fn start(style: DisplayStyle, meter: Arc<Meter>) -> Self {
        let (running, stop) = mpsc::sync_channel(0);
        let (end, ended) = mpsc::channel();
        let show = move || {
            match style {
                DisplayStyle::Bar => draw(&meter, &stop),
                DisplayStyle::Lines => add_lines(&meter, &stop),
                DisplayStyle::Hidden => {}
            }
            let _the_wait_may_be_over = end.send(());
        };
        // Without a thread, only the progress is missing.
        let _thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show);
        Self { running: Some(running), ended }
    }

    /// Erases the line. Does not wait for a reader of stderr that has stopped.
    pub(super) fn stop(mut self) {
        self.running.take();
        let _ = self.ended.recv_timeout(LAST_TIME);
    }
}

fn draw(meter: &Meter, stop: &Receiver<()>) {
    let mut drawn = 0;
    while stop.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
        let reading = meter.reading();
        let line = reading.bar(reading.began.elapsed(), columns());
        write(&format!("{ERASE}{line}"));
        drawn += 1;
    }
    if drawn > 0 {
        write(ERASE);
    }
}

fn add_lines(meter: &Meter, stop: &Receiver<()>) {
    let began = Instant::now();
    while stop.recv_timeout(LINE) == Err(RecvTimeoutError::Timeout) {
        let reading = meter.reading();
        write(&format!("{}\n", reading.line(began.elapsed())));
    }
}

/// The width of the terminal.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// Ignores errors: a terminal that is gone does not stop the export.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
