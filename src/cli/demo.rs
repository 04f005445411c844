use std::net::SocketAddr;
use std::time::Duration;

use super::assemble::assemble;
use super::guide::Guide;
use super::process::{CommandError, listen, run};
use super::serve::until_stopped;
use super::{Exit, print};
use crate::config::{self, Command, Demo, Serve};
use crate::shutdown::Shutdown;
use crate::simulator::{AgentPlan, Latency, Rate, RetryAfter, Simulator, SimulatorSettings, TieOrder};
use crate::telemetry::Tracer;

/// Runs the gateway and a simulated upstream in one process.
pub fn demo(settings: &Demo) -> Exit {
    run(&settings.log, demonstrating(settings))
}

async fn demonstrating(settings: &Demo) -> Result<Exit, CommandError> {
    // Bind all three first, to report a port in use at once.
    let (simulator_listener, upstream) = listen("simulator-listen", settings.simulator_listen).await?;
    let (public, gateway_address) = listen("listen", settings.listen).await?;
    let (admin, admin_address) = listen("admin-listen", settings.admin_listen).await?;

    let shutdown = Shutdown::default();
    let simulator = Simulator::new(simulator_settings());
    let serve = serve_settings(upstream, settings.has_console)?;
    let gateway =
        assemble(&serve, &Tracer::default(), &shutdown).map_err(|faults| CommandError(faults.join("\n")))?;
    // With a shutdown of its own, because the gateway may still read from the simulator while it drains.
    let simulator_shutdown = Shutdown::default();
    let (server, stop) = (simulator.clone(), simulator_shutdown.clone());
    simulator_shutdown.spawn(async move { server.serve(simulator_listener, &stop).await });

    let agents = simulator.agents();
    let agents = agents.iter().map(|agent| (agent.id, agent.name.as_str(), agent.executions)).collect();
    let console = settings.has_console.then_some(gateway_address);
    let guide =
        Guide { console, gateway: gateway_address, admin: admin_address, upstream, agents }.to_string();
    // Not awaited: a reader that stops must not keep the demo from serving or stopping.
    let _printing = tokio::task::spawn_blocking(move || print::out(guide));
    let exit = until_stopped(gateway, public, admin, &serve.stopping, &shutdown).await;
    simulator_shutdown.end();
    exit
}

/// One agent with a history of a few pages, one with a long history, and one with running calls.
fn simulator_settings() -> SimulatorSettings {
    const DAY: Duration = Duration::from_hours(24);
    let plan = |name: &str, executions, days: u32, live| AgentPlan {
        name: Some(name.to_owned()),
        executions,
        span: DAY * days,
        live,
    };
    SimulatorSettings {
        agents: vec![
            plan("Reception", 120, 20, None),
            plan("Sales", 10_000, 90, None),
            plan("Support (live)", 300, 14, Some(Duration::from_secs(4))),
        ],
        rate: Some(Rate { requests: 500, per: Duration::from_secs(60) }),
        retry_after: RetryAfter::Absent,
        latency: Latency { least: Duration::from_millis(40), most: Duration::from_millis(120) },
        // Without a stable order of equal instants, proving a list complete would take more requests than the demo's budget
        // has in its first minute.
        ties: TieOrder::Stable,
        ..SimulatorSettings::default()
    }
}

/// The defaults of `serve`, with the simulator as upstream, and stopping at once on Ctrl-C.
fn serve_settings(upstream: SocketAddr, has_console: bool) -> Result<Serve, CommandError> {
    let url = format!("--upstream-url=http://{upstream}");
    let console = format!("--console={has_console}");
    let args = ["fanfold", "serve", &url, &console, "--drain-delay=0s", "--drain-timeout=1s"];
    match config::read(args.map(Into::into), []) {
        Ok(Command::Serve(serve)) => Ok(*serve),
        other => Err(CommandError(format!("the demo's own settings are not valid: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_demo_are_valid() {
        let serve = serve_settings("127.0.0.1:8081".parse().unwrap(), true).unwrap();
        assert_eq!(serve.stopping.drain_delay, Duration::ZERO);
        assert!(assemble(&serve, &Tracer::default(), &Shutdown::default()).is_ok());
    }
}
