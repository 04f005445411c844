use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use super::assemble::{Gateway, assemble};
use super::control::{self, ProcessStop};
use super::process::{CommandError, listen, run};
use super::{Exit, print};
use crate::config::{Serve, ServeMode, StopSettings};
use crate::server::stop::StopPlan;
use crate::server::{self, ServerLimits, watchdog};
use crate::shutdown::Shutdown;
use crate::telemetry::{ConnectionCounts, Tracer, Tracing, file_handles};

/// How long ended work may take to finish: the connections' own grace and a margin.
const END_GRACE: Duration = Duration::from_secs(3);

/// How long the last spans may take to be exported. With the default drain and [`END_GRACE`] it stays below 40 s, which the
/// documentation gives as the shortest termination grace period.
const FLUSH_TIME: Duration = Duration::from_millis(1500);

/// How long the process may take to exit once it has stopped: [`FLUSH_TIME`] and a margin.
const EXIT_TIME: Duration = Duration::from_millis(1700);

/// Runs the gateway, or checks its settings.
pub fn serve(settings: &Serve) -> Exit {
    match settings.purpose {
        ServeMode::Run => run(&settings.log, serving(settings)),
        ServeMode::Check => check(settings),
    }
}

/// Completes `--check`. The settings are valid, because they were read; this also reads the files that they name.
fn check(settings: &Serve) -> Exit {
    for warning in &settings.warnings {
        print::err(format_args!("warning: {warning}"));
    }
    match assemble(settings, &Tracer::default(), &Shutdown::default()) {
        Ok(_) => {
            print::out("The settings are valid.");
            Exit::Done
        }
        Err(faults) => refuse(&faults),
    }
}

fn refuse(faults: &[String]) -> Exit {
    print::err_bounded(faults.join("\n"));
    Exit::BadSettings
}

async fn serving(settings: &Serve) -> Result<Exit, CommandError> {
    let shutdown = Shutdown::default();
    let tracing = begin_tracing(settings);
    let gateway = match assemble(settings, &tracing.tracer(), &shutdown) {
        Ok(gateway) => gateway,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let (public, public_address) = listen("listen", settings.listeners.public).await?;
    let (admin, admin_address) = listen("admin-listen", settings.listeners.admin).await?;
    log_settings(settings, public_address, admin_address);
    let exit = until_stopped(gateway, public, admin, &settings.stopping, &shutdown).await?;
    // On another thread, because it blocks and waits for work on this runtime.
    let _ended = tokio::task::spawn_blocking(move || tracing.flush(FLUSH_TIME)).await;
    Ok(exit)
}

/// Sets up tracing. A gateway that can't export traces serves anyway.
fn begin_tracing(settings: &Serve) -> Tracing {
    let Some(traces) = &settings.traces else { return Tracing::default() };
    Tracing::start(traces, Handle::current()).unwrap_or_else(|error| {
        warn!(target: "fanfold::traces", %error, "Traces are off: {error}.");
        Tracing::default()
    })
}

/// Logs all settings in one line, so that a log shows what a process ran with.
fn log_settings(settings: &Serve, public: SocketAddr, admin: SocketAddr) {
    let in_force: Vec<_> = settings.effective.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let version = env!("CARGO_PKG_VERSION");
    info!(target: "fanfold::process", version, settings = in_force.join(" "), "The settings in force.");
    for warning in &settings.warnings {
        warn!(target: "fanfold::process", "{warning}");
    }
    info!(target: "fanfold::process", %public, %admin, "Listening on {public}, admin on {admin}.");
}

/// Serves until a signal, then stops in order.
pub(super) async fn until_stopped(
    gateway: Gateway,
    public: TcpListener,
    admin: TcpListener,
    stopping: &StopSettings,
    shutdown: &Shutdown,
) -> Result<Exit, CommandError> {
    let Gateway { public: router, admin: probes, vitals } = gateway;
    let plan = StopPlan { delay: stopping.drain_delay, timeout: stopping.drain_timeout, grace: END_GRACE };
    let admin = admin.into_std().map_err(|error| CommandError(format!("admin-listen: {error}")))?;
    let probing = {
        let (limits, pulse) = (ServerLimits::admin(stopping.stall_timeout), vitals.pulse.clone());
        async move {
            let admin = match TcpListener::from_std(admin) {
                Ok(admin) => admin,
                Err(error) => {
                    return error!(target: "fanfold::process", %error, "Probes can't be served: {error}.");
                }
            };
            // Probes and metrics work until the process ends.
            let (counts, open) = (ConnectionCounts::default(), Shutdown::default());
            tokio::join!(server::serve(admin, probes, limits, counts, open), watchdog::watch(pulse));
        }
    };
    let stopped = control::start(probing, shutdown, ProcessStop { plan, exit_time: EXIT_TIME })?;
    // A drain must not wait for this task.
    Shutdown::default().spawn(watchdog::beat(vitals.pulse));
    let limits = ServerLimits::public(stopping.stall_timeout, file_handles());
    shutdown.spawn(server::serve(public, router, limits, vitals.connections, shutdown.clone()));
    stopped.await?;
    Ok(Exit::Done)
}
