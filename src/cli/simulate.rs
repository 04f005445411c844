use std::time::Duration;

use tracing::info;

use super::Exit;
use super::control::{self, ProcessStop};
use super::process::{CommandError, listen, run};
use crate::config::Simulate;
use crate::server::stop::StopPlan;
use crate::shutdown::Shutdown;
use crate::simulator::{
    AgentPlan, Latency, Rate, RetryAfter, Simulator, SimulatorSettings, TieOrder, WindowRule,
};
use crate::upstream;

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
    let simulator = Simulator::new(simulator_settings(settings));
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

fn simulator_settings(settings: &Simulate) -> SimulatorSettings {
    let plan = AgentPlan {
        name: None,
        executions: u32::try_from(settings.executions).unwrap_or(u32::MAX),
        span: settings.span,
        live: settings.is_live.then_some(settings.live_gap),
    };
    let (least, most) = settings.latency;
    SimulatorSettings {
        seed: settings.seed,
        epoch: settings.epoch,
        agents: vec![plan; settings.agents],
        window: if settings.requires_window { WindowRule::default() } else { WindowRule::Optional },
        rate: settings.rate.map(rate),
        retry_after: if settings.tells_retry_after { RetryAfter::Seconds } else { RetryAfter::Absent },
        latency: Latency { least, most },
        most_turns: settings.turns,
        commit_lag: settings.show_lag,
        faults: settings.faults.clone(),
        ties: if settings.has_stable_ties { TieOrder::Stable } else { TieOrder::Unstable },
        ..SimulatorSettings::default()
    }
}

fn rate(rate: upstream::Rate) -> Rate {
    Rate { requests: usize::try_from(rate.count.get()).unwrap_or(usize::MAX), per: rate.per }
}
