//! Ends an export at the first signal. There is nothing to wait for: `FILE` is unchanged, and the next run writes `FILE.part`
//! from its beginning.

use std::io;
use std::path::PathBuf;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::show::DisplayStyle;
use crate::cli::{Exit, print};
use crate::server::stop::Signal;

/// Handles signals from now on, on a separate thread, so that an export blocked by an unread pipe still ends.
///
/// # Errors
/// The system can't create the thread or install a handler.
pub(super) fn watch(style: DisplayStyle, part: Option<PathBuf>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            // The terminal was closed.
            signal(SignalKind::hangup())?,
        )
    };
    let first = async move {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
            _ = hangup.recv() => Signal::Terminate,
        }
    };
    let end = move |runtime: Runtime| {
        let by = runtime.block_on(first);
        let unfinished =
            part.map_or_else(String::new, |part| format!("; {} is not complete", part.display()));
        print::err_bounded(format_args!("{}stopped by a signal{unfinished}", style.before_other_text()));
        std::process::exit(Exit::EndedBy(by).code().into())
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || end(runtime)).map(drop)
}
