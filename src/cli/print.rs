//! Writing to the terminal. Nobody reading any more, as in `fanfold --help | head -1`, is no failure.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;

/// How long what is said last may take to be read.
const LAST_WORDS_TIME: Duration = Duration::from_millis(200);

/// A line, or several, for whoever ran the command.
pub(super) fn out(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line, or several, beside what the command was run for.
pub(super) fn err(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Like [`err`], for a process that is about to end: it does not wait for a reader that has stopped.
pub(super) fn last_words(text: impl Display) {
    let text = text.to_string();
    let (say, hear) = mpsc::channel();
    let _thread = std::thread::Builder::new().spawn(move || {
        err(text);
        let _ = say.send(());
    });
    let _ = hear.recv_timeout(LAST_WORDS_TIME);
}
