//! Writing to the terminal. Nobody reading any more, as in `fanfold --help | head -1`, is no failure.

use std::fmt::Display;
use std::io::Write as _;

/// A line, or several, for whoever ran the command.
pub(super) fn out(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line, or several, beside what the command was run for.
pub(super) fn err(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
