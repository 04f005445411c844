use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::faults::FaultRule;
use super::script::{parse_length, parse_script};
use super::settings::{AgentPlan, Latency, Rate, RetryAfter, SimulatorSettings, WindowRule};
use crate::domain::{Rounding, Timestamp};

/// The most executions of one agent, for the sake of memory: some 32 bytes are kept of each.
const MAX_EXECUTIONS: i64 = 100_000_000;

/// The settings of `fanfold simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Where to listen (HTTP/1.1 and h2c).
    #[arg(long, env = "FANFOLD_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// How many agents there are.
    #[arg(long, env = "FANFOLD_AGENTS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub agents: u32,

    /// How many executions each agent has.
    #[arg(long, env = "FANFOLD_EXECUTIONS", value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(..=MAX_EXECUTIONS))]
    pub executions: u32,

    /// What everything is drawn from: same seed, same data.
    #[arg(long, env = "FANFOLD_SEED", value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// How far back the executions reach.
    #[arg(long, env = "FANFOLD_SPAN", value_name = "LENGTH", default_value = "30d", value_parser = parse_length)]
    pub span: Duration,

    /// The instant (RFC 3339) before which the executions lie, instead of the start of the process: with it, rows are the
    /// same to the byte in every run.
    #[arg(long, env = "FANFOLD_EPOCH", value_name = "INSTANT", value_parser = parse_epoch)]
    pub epoch: Option<Timestamp>,

    /// New calls arrive and progress through their states.
    #[arg(long, env = "FANFOLD_LIVE")]
    pub live: bool,

    /// The mean time between an agent's new calls, with --live.
    #[arg(long, env = "FANFOLD_LIVE_GAP", value_name = "LENGTH", default_value = "5s", value_parser = parse_length)]
    pub live_gap: Duration,

    /// How late a new call may show up after its created_at, with --live.
    #[arg(long, env = "FANFOLD_SHOW_LAG", value_name = "LENGTH", default_value = "0s", value_parser = parse_length)]
    pub show_lag: Duration,

    /// How long an answer takes: a length, or two as in 40ms..120ms.
    #[arg(long, env = "FANFOLD_LATENCY", value_name = "LENGTH", default_value = "0s", value_parser = parse_latency)]
    pub latency: Latency,

    /// The most requests in any span of that length, more get 429: N/s, N/min, or 0 for no limit.
    #[arg(long, env = "FANFOLD_RATE", value_name = "RATE", default_value = "500/min", value_parser = parse_rate)]
    pub rate: RateLimit,

    /// Whether a 429 carries Retry-After.
    #[arg(long, env = "FANFOLD_RETRY_AFTER")]
    pub retry_after: bool,

    /// Whether from and to are both required, at most 7 days apart.
    #[arg(
        long,
        env = "FANFOLD_REQUIRE_WINDOW",
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub require_window: bool,

    /// A fault and the share of requests it strikes, repeatable: 429:0.05, reset:1%. Faults are a status from 400 to 599,
    /// reset, hang, truncate, html, error-body, empty-page, slow=LENGTH, delay=LENGTH.
    #[arg(long, env = "FANFOLD_FAULT", value_name = "FAULT:SHARE", value_delimiter = ',')]
    pub fault: Vec<FaultRule>,

    /// A file with a rule for a fault on each line, such as: 503 page=2 times=1. These go before the faults by share.
    #[arg(long, env = "FANFOLD_FAULT_SCRIPT", value_name = "FILE")]
    pub fault_script: Option<PathBuf>,
}

/// A rate, or none. Not an `Option`: to clap that would mean a flag that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// Everything that is wrong with the settings, a line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BadSettings(pub Vec<String>);

/// Reads the script's file, too.
impl TryFrom<&SimulateArgs> for SimulatorSettings {
    type Error = BadSettings;

    fn try_from(args: &SimulateArgs) -> Result<Self, BadSettings> {
        let mut bad = Vec::new();
        let mut faults = Vec::new();
        if let Some(path) = &args.fault_script {
            let name = path.display();
            match std::fs::read_to_string(path).map(|script| parse_script(&script)) {
                Ok(Ok(rules)) => faults = rules,
                Ok(Err(rules)) => {
                    bad.extend(rules.iter().map(|rule| format!("--fault-script {name}: {rule}")));
                }
                Err(error) => bad.push(format!("--fault-script {name}: {error}")),
            }
        }
        faults.extend(args.fault.iter().cloned());
        if args.live && args.live_gap.is_zero() {
            bad.push("--live-gap must be longer than 0s".to_owned());
        }
        if !bad.is_empty() {
            return Err(BadSettings(bad));
        }
        let plan = AgentPlan {
            name: None,
            executions: args.executions,
            span: args.span,
            live: args.live.then_some(args.live_gap),
        };
        Ok(Self {
            seed: args.seed,
            epoch: args.epoch,
            agents: vec![plan; args.agents as usize],
            window: if args.require_window { WindowRule::default() } else { WindowRule::Optional },
            rate: args.rate.0,
            retry_after: if args.retry_after { RetryAfter::Seconds } else { RetryAfter::Absent },
            latency: args.latency,
            commit_lag: args.show_lag,
            faults,
            ..Self::default()
        })
    }
}

fn parse_epoch(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text, Rounding::Down).ok_or_else(|| "not an instant: 2026-01-28T00:00:00Z".to_owned())
}

fn parse_latency(text: &str) -> Result<Latency, String> {
    let length = |text| parse_length(text).map_err(|error| error.to_string());
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let latency = Latency { least: length(least)?, most: length(most)? };
    if latency.least <= latency.most {
        Ok(latency)
    } else {
        Err("the first must not be the longer".to_owned())
    }
}

fn parse_rate(text: &str) -> Result<RateLimit, String> {
    if text == "0" {
        return Ok(RateLimit(None));
    }
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let per = match unit {
        "s" => Some(1),
        "min" => Some(60),
        _ => None,
    };
    let requests = number.parse().ok().filter(|requests| *requests > 0);
    let rate = requests.zip(per).map(|(requests, per)| Rate { requests, per: Duration::from_secs(per) });
    rate.map(|rate| RateLimit(Some(rate))).ok_or_else(|| "not a rate: N/s, N/min, or 0 for none".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn settings(flags: &[&str]) -> Result<SimulatorSettings, String> {
        let command = Command::try_parse_from([&["simulate"], flags].concat()).map_err(|e| e.to_string())?;
        SimulatorSettings::try_from(&command.args).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_upstreams() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.rate, Some(Rate { requests: 500, per: Duration::from_secs(60) }));
        assert_eq!(settings.window, WindowRule::Required(Duration::from_secs(7 * 86_400)));
        assert_eq!((settings.agents.len(), settings.agents[0].executions), (1, 5_000));
    }

    #[test]
    fn every_flag_arrives() {
        let settings = settings(&[
            "--agents=3",
            "--executions=7",
            "--span=2d",
            "--live",
            "--live-gap=1s",
            "--latency=40ms..80ms",
            "--rate=0",
            "--require-window=false",
            "--fault=429:0.05",
            "--fault=reset:1%",
        ])
        .unwrap();
        assert_eq!((settings.agents.len(), settings.agents[2].executions), (3, 7));
        assert_eq!(settings.agents[0].live, Some(Duration::from_secs(1)));
        assert_eq!(settings.latency.most, Duration::from_millis(80));
        assert_eq!((settings.rate, settings.window), (None, WindowRule::Optional));
        assert_eq!(settings.faults.len(), 2);
    }

    #[test]
    fn bad_values_are_refused() {
        for flag in
            ["--span=2", "--rate=5", "--latency=9s..1s", "--fault=oops", "--fault-script=/no/such/file"]
        {
            assert!(settings(&[flag]).is_err(), "{flag}");
        }
    }
}
