//! The settings of `simulate`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::faults::SettingErrors;
use super::flags::Flag;
use super::reader::{SettingsReader, read_all};
use super::serve::log;
use super::serve_flags::{LOG, LOG_FORMAT};
use super::settings::LogSettings;
use super::values::{self, Parsed};
use crate::domain::Timestamp;
use crate::simulator::{FaultRule, parse_script};
use crate::upstream::Rate;

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
    /// The number of agents.
    pub agents: usize,
    /// The number of executions of each agent.
    pub executions: usize,
    /// The seed of the data.
    pub seed: u64,
    /// How far back the executions go.
    pub span: Duration,
    /// The end of the history; `None` for the start of the process.
    pub epoch: Option<Timestamp>,
    /// The shortest and the longest time that a response takes.
    pub latency: (Duration, Duration),
    /// The maximum turns of a conversation.
    pub turns: u64,
    /// The maximum requests in any span of a length; `None` for no limit.
    pub rate: Option<Rate>,
    /// Whether a 429 has `Retry-After`.
    pub tells_retry_after: bool,
    /// Whether requests without `from` and `to` are refused.
    pub requires_window: bool,
    /// Whether executions of one instant keep their order.
    pub has_stable_ties: bool,
    /// Whether new calls arrive.
    pub is_live: bool,
    /// The mean time between an agent's new calls.
    pub live_gap: Duration,
    /// How long after its `created_at` a new call may first be shown.
    pub show_lag: Duration,
    /// The rules for faults, those of the script first.
    pub faults: Vec<FaultRule>,
    /// What is logged.
    pub log: LogSettings,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: SettingsReader) -> Result<Simulate, SettingErrors> {
    /// The maximum executions of all agents together; each takes about 32 bytes of memory.
    const MOST_EXECUTIONS: usize = 100_000_000;
    let read = &mut reader;
    let simulate = read_all!(read, Simulate {
        listen: one("listen", values::address),
        agents: one("agents", values::count),
        executions: one("executions", values::count),
        seed: one("seed", values::number),
        span: one("span", values::length),
        epoch: optional("epoch", values::instant),
        latency: one("latency", values::length_range),
        turns: one("turns", values::number),
        rate: one("rate", values::rate),
        tells_retry_after: one("retry-after", values::switch),
        requires_window: one("require-window", values::switch),
        has_stable_ties: one("stable-ties", values::switch),
        is_live: one("live", values::switch),
        live_gap: one("live-gap", values::length),
        show_lag: one("show-lag", values::length_or_zero),
        ;
        log: log,
        faults: faults,
    });
    if simulate.as_ref().is_some_and(|s| s.agents.saturating_mul(s.executions) > MOST_EXECUTIONS) {
        read.fault("executions", format!("more than {MOST_EXECUTIONS} for all agents together"));
    }
    reader.finish(simulate)
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
