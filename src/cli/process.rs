//! What every long-running command needs: a runtime, a log, listeners.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Exit, print};
use crate::config::LogSettings;
use crate::telemetry::{flush_log, set_up_log};

/// How long the log's reader may take to read the last lines.
pub(super) const LOG_FLUSH_TIME: Duration = Duration::from_millis(200);

/// Why a command can't continue, in a sentence for its user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommandError(pub(super) String);

/// Sets up the log and a runtime, and runs the work on it. Tasks that still run when the work returns are dropped.
pub(super) fn run(log: &LogSettings, work: impl Future<Output = Result<Exit, CommandError>>) -> Exit {
    run_on(log, RuntimeThreads::for_callers(), work)
}

/// Like [`run`], for a command that serves no callers: a few threads are enough on any machine.
pub(super) fn run_small(log: &LogSettings, work: impl Future<Output = Result<Exit, CommandError>>) -> Exit {
    run_on(log, RuntimeThreads::for_one_task(), work)
}

fn run_on(
    log: &LogSettings,
    threads: RuntimeThreads,
    work: impl Future<Output = Result<Exit, CommandError>>,
) -> Exit {
    let started = set_up_log(&log.filter, log.format)
        .map_err(|error| CommandError(error.to_string()))
        .and_then(|()| runtime(threads));
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(failure) => return fail(&failure),
    };
    let exit = runtime.block_on(work).unwrap_or_else(|failure| fail(&failure));
    // A thread that is compressing or reading a file must not delay the exit.
    runtime.shutdown_timeout(Duration::ZERO);
    flush_log(LOG_FLUSH_TIME);
    exit
}

/// The threads for blocking work (files, DNS) in addition to one per core. More would not speed up computation, and the
/// allocator keeps memory for each thread.
const THREADS_FOR_WAITING: usize = 4;

/// The most threads of a runtime.
#[derive(Clone, Copy, Debug)]
struct RuntimeThreads {
    workers: usize,
    blocking: usize,
}

impl RuntimeThreads {
    fn for_callers() -> Self {
        let cores = cores();
        Self { workers: cores, blocking: cores + THREADS_FOR_WAITING }
    }

    /// One blocking thread writes, and the others decode pages.
    fn for_one_task() -> Self {
        Self { workers: cores().min(2), blocking: 3 }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

fn runtime(threads: RuntimeThreads) -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.workers)
        .max_blocking_threads(threads.blocking)
        .enable_all()
        .build()
        .map_err(|error| CommandError(format!("the runtime can't be started: {error}")))
}

/// Prints why the command ends.
fn fail(failure: &CommandError) -> Exit {
    flush_log(LOG_FLUSH_TIME);
    print::err_bounded(failure);
    Exit::Failed
}

/// Listens on the address of a flag. Returns the listener and the bound address.
pub(super) async fn listen(
    flag: &str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), CommandError> {
    let describe = |error: std::io::Error| {
        CommandError(format!(
            "can't listen on {address}: {error}; choose another address with --{flag} ADDRESS"
        ))
    };
    let listener = TcpListener::bind(address).await.map_err(describe)?;
    let bound = listener.local_addr().map_err(describe)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_reported_with_the_flag_that_changes_it() {
        let (_listener, bound) = listen("listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let failure = listen("listen", bound).await.unwrap_err().to_string();
        assert!(failure.contains(&bound.to_string()) && failure.ends_with("--listen ADDRESS"), "{failure}");
    }
}
