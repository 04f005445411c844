//! The settings of `simulate`.

use std::net::SocketAddr;
use std::path::Path;

use super::faults::SettingErrors;
use super::flags::Flag;
use super::reader::{SettingsReader, read_all};
use super::serve::log;
use super::serve_flags::{LOG, LOG_FORMAT};
use super::settings::LogSettings;
use super::values::{self, Parsed};
use crate::simulator::{
    AgentPlan, FaultRule, Latency, Rate, RetryAfter, SimulatorSettings, TieOrder, WindowRule, parse_script,
};
use crate::upstream;

/// The flags of `simulate`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::new("listen", "ADDRESS", "127.0.0.1:8081", "Address to listen on"),
    Flag::new("agents", "N", "1", "Number of agents"),
    Flag::new("executions", "N", "5000", "Number of executions of each agent"),
    Flag::new("seed", "N", "1", "Seed of the data: the same seed gives the same data"),
    Flag::new("span", "LENGTH", "30d", "How far back the executions go"),
    Flag::optional(
        "epoch",
        "INSTANT",
        "End of the history (RFC 3339) instead of the start of the process; makes rows the same in every run",
    ),
    Flag::new(
        "latency",
        "LENGTH",
        "50ms",
        "How long a response takes: a length, or a range such as 40ms..120ms",
    ),
    Flag::new(
        "turns",
        "N",
        "56",
        "Maximum turns of a conversation, which make up most of a row: 56 gives rows of about 12 KB on average, 5 of about 5 KB",
    ),
    Flag::new(
        "rate",
        "RATE",
        "500/min",
        "Maximum requests in any span of that length (N/s, N/min); 0 for no limit",
    ),
    Flag::switch("retry-after", "false", "Send Retry-After with 429"),
    Flag::switch(
        "require-window",
        "true",
        "Refuse requests without from and to, or with more than 7 days between them",
    ),
    Flag::switch(
        "stable-ties",
        "false",
        "Always return executions of one instant in the same order, which upstream does not",
    ),
    Flag::switch("live", "false", "Add new calls that go through their states"),
    Flag::new("live-gap", "LENGTH", "5s", "With --live: mean time between an agent's new calls"),
    Flag::new(
        "show-lag",
        "LENGTH",
        "0s",
        "With --live: how long after its created_at a new call may first be shown",
    ),
    Flag::many(
        "fault",
        "FAULT:SHARE",
        "A fault and the share of requests that it affects, such as 429:0.05 or reset:1%; repeatable",
    ),
    Flag::optional(
        "fault-script",
        "FILE",
        "File with rules for faults, one per line, such as: 503 page=2 times=1",
    ),
    LOG,
    LOG_FORMAT,
];

/// The settings of `simulate`.
#[derive(Clone, Debug)]
pub struct Simulate {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The simulated upstream.
    pub simulator: SimulatorSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader) -> Result<Simulate, SettingErrors> {
    let read = &mut reader;
    let simulate = read_all!(read, Simulate {
        listen: one("listen", values::address),
        ;
        simulator: simulator,
        log: log,
    });
    reader.finish(simulate)
}

fn simulator(read: &mut SettingsReader) -> Option<SimulatorSettings> {
    read_all!(read, SimulatorSettings {
        seed: one("seed", values::number),
        epoch: optional("epoch", values::instant),
        window: one("require-window", window),
        rate: one("rate", rate),
        retry_after: one("retry-after", retry_after),
        latency: one("latency", latency),
        most_turns: one("turns", values::number),
        commit_lag: one("show-lag", values::length_or_zero),
        ties: one("stable-ties", ties),
        ;
        agents: agents,
        faults: faults,
    })
}

fn agents(read: &mut SettingsReader) -> Option<Vec<AgentPlan>> {
    /// The maximum executions of all agents together; each takes about 32 bytes of memory.
    const MOST_EXECUTIONS: usize = 100_000_000;
    let (agents, executions) = (read.one("agents", values::count), read.one("executions", values::count));
    let (span, is_live) = (read.one("span", values::length), read.one("live", values::switch));
    let gap = read.one("live-gap", values::length);
    let (agents, executions) = (agents?, executions?);
    if agents.saturating_mul(executions) > MOST_EXECUTIONS {
        read.fault("executions", format!("more than {MOST_EXECUTIONS} for all agents together"));
        return None;
    }
    let executions = u32::try_from(executions).unwrap_or(u32::MAX);
    let plan = AgentPlan { name: None, executions, span: span?, live: is_live?.then_some(gap?) };
    Some(vec![plan; agents])
}

fn window(text: &str) -> Parsed<WindowRule> {
    let window = |is_required| if is_required { WindowRule::Required } else { WindowRule::Optional };
    values::switch(text).map(window)
}

fn rate(text: &str) -> Parsed<Option<Rate>> {
    let rate = |rate: upstream::Rate| {
        let requests = usize::try_from(rate.count.get()).unwrap_or(usize::MAX);
        Rate { requests, per: rate.per }
    };
    values::rate(text).map(|limit| limit.map(rate))
}

fn retry_after(text: &str) -> Parsed<RetryAfter> {
    values::switch(text).map(|is_sent| if is_sent { RetryAfter::Seconds } else { RetryAfter::Absent })
}

fn latency(text: &str) -> Parsed<Latency> {
    values::length_range(text).map(|(least, most)| Latency { least, most })
}

fn ties(text: &str) -> Parsed<TieOrder> {
    values::switch(text).map(|is_stable| if is_stable { TieOrder::Stable } else { TieOrder::Unstable })
}

/// The rules of the script, followed by those given as shares.
fn faults(read: &mut SettingsReader) -> Option<Vec<FaultRule>> {
    let by_share = read.many("fault", fault);
    let mut rules = match read.optional("fault-script", values::file)? {
        Some(file) => script(read, &file)?,
        None => Vec::new(),
    };
    rules.extend(by_share?);
    Some(rules)
}

fn fault(text: &str) -> Parsed<FaultRule> {
    text.parse()
        .map_err(|bad| format!("a fault and the share of requests that it affects, such as 429:0.05 ({bad})"))
}

fn script(read: &mut SettingsReader, file: &Path) -> Option<Vec<FaultRule>> {
    match std::fs::read_to_string(file).map(|text| parse_script(&text)) {
        Ok(Ok(rules)) => Some(rules),
        Ok(Err(bad)) => {
            bad.iter().for_each(|rule| read.fault("fault-script", rule.to_string()));
            None
        }
        Err(error) => {
            read.fault("fault-script", format!("the file can't be read: {error}"));
            None
        }
    }
}
