//! Printing. A closed pipe is not an error, as in `fanfold --help | head -1`.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;

/// How long [`err_bounded`] waits for the reader.
const READER_TIME: Duration = Duration::from_millis(200);

/// Prints one or more lines to stdout.
pub(super) fn out(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints one or more lines to stderr.
pub(super) fn err(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints to stderr like [`err`], but waits only briefly for a reader that has stopped reading: the process is about to exit.
pub(super) fn err_bounded(text: impl Display) {
    let text = text.to_string();
    let (done, printed) = mpsc::channel();
    let _thread = std::thread::Builder::new().spawn(move || {
        err(text);
        let _ = done.send(());
    });
    let _ = printed.recv_timeout(READER_TIME);
}
