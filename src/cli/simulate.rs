use std::time::Duration;

use tracing::info;

use super::Exit;
use super::control::{self, ProcessStop};
use super::process::{CommandError, listen, run};
use crate::config::Simulate;
use crate::server::stop::StopPlan;
use crate::shutdown::Shutdown;
use crate::simulator::Simulator;

/// A simulator has no clients to drain.
const STOP_SOON: ProcessStop = ProcessStop {
    plan: StopPlan { delay: Duration::ZERO, timeout: Duration::from_secs(1), grace: Duration::from_secs(1) },
    exit_time: Duration::from_secs(1),
};

/// Runs the simulated upstream.
pub fn simulate(settings: &Simulate) -> Exit {
    run(&settings.log, simulating(settings))
}

async fn simulating(settings: &Simulate) -> Result<Exit, CommandError> {
    let simulator = Simulator::new(settings.simulator.clone());
    let (listener, address) = listen("listen", settings.listen).await?;
    let shutdown = Shutdown::default();
    let stopped = control::start(async {}, &shutdown, STOP_SOON)?;
    info!(%address, "Simulating upstream on {address}. Every key that begins with bn- or sa- is valid.");
    for agent in simulator.agents() {
        info!(agent = %agent.id, executions = agent.executions, "Agent {} has {} executions.", agent.id, agent.executions);
    }
    let (server, stop) = (simulator.clone(), shutdown.clone());
    shutdown.spawn(async move { server.serve(listener, &stop).await });
    stopped.await?;
    Ok(Exit::Done)
}
