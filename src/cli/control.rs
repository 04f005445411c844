//! The control thread: everything that must work even when the main runtime does not.
//!
//! It has its own runtime for signals, probes and the watchdog. Nothing on it takes a lock that the engine holds while working,
//! or waits for the log's reader. If the main runtime does not stop when it should, this thread ends the process.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::Exit;
use super::process::{CommandError, LOG_FLUSH_TIME};
use crate::server::stop::{self, StopPlan, Stopped};
use crate::shutdown::Shutdown;
use crate::telemetry::flush_log;

/// The most threads for work that could block the control thread: metrics and purges.
const BLOCKING_THREADS: usize = 4;

/// How a process stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessStop {
    /// How long each step may take.
    pub(super) plan: StopPlan,
    /// How long the main thread may then take to end the process.
    pub(super) exit_time: Duration,
}

/// Starts the control thread, which handles signals from now on and also runs `probes`.
///
/// The returned future completes when the process has stopped in order and may exit. A second signal ends the process at
/// once.
///
/// # Errors
/// The system can't create the thread or install a signal handler.
pub(super) fn start(
    probes: impl Future<Output = ()> + Send + 'static,
    shutdown: &Shutdown,
    stop: ProcessStop,
) -> Result<impl Future<Output = Result<(), CommandError>>, CommandError> {
    let runtime =
        runtime().map_err(|error| CommandError(format!("the control thread can't be started: {error}")))?;
    let signals = {
        let _inside = runtime.enter();
        stop::signals().map_err(|error| CommandError(format!("signals can't be handled: {error}")))?
    };
    let (stopped, has_stopped) = oneshot::channel();
    let shutdown = shutdown.clone();
    let stopping = async move {
        let mut signals = pin!(signals);
        if let Stopped::AtOnce(signal) = stop::on_signal(signals.as_mut(), &shutdown, stop.plan).await {
            end_process(Exit::EndedBy(signal));
        }
        let _main_may_be_gone = stopped.send(());
        tokio::select! {
            biased;
            Some(signal) = signals.next() => end_process(Exit::EndedBy(signal)),
            () = tokio::time::sleep(stop.exit_time) => end_process(Exit::Done),
        }
    };
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || runtime.block_on(async { tokio::join!(probes, stopping) }))
        .map_err(|error| CommandError(format!("the control thread can't be started: {error}")))?;
    Ok(async { has_stopped.await.map_err(|_| CommandError("the control thread has ended".to_owned())) })
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build()
}

/// Ends the process, whatever its other threads do. Drops nothing and waits only for the log.
fn end_process(exit: Exit) -> Infallible {
    flush_log(LOG_FLUSH_TIME);
    std::process::exit(exit.code().into())
}
