//! The settings of `simulate`.

use std::net::SocketAddr;
use std::time::Duration;

use super::faults::Faults;
use super::flags::Flag;
use super::reader::{Reader, read_all};
use super::serve::{Log, log};
use super::serve_flags::{LOG, LOG_FORMAT};
use super::values::{self, Parsed, Rate};

/// The flags of `simulate`.
pub(super) const FLAGS: &[Flag] = &[
    Flag::new("listen", "ADDRESS", "127.0.0.1:8081", "Where to listen"),
    Flag::new("agents", "N", "3", "How many agents there are"),
    Flag::new("executions", "N", "1000", "How many executions each agent has"),
    Flag::new("seed", "N", "1", "What the data is made from: same seed, same data"),
    Flag::new("span", "LENGTH", "30d", "How far back the executions go"),
    Flag::new("latency", "LENGTH", "50ms", "How long an answer takes"),
    Flag::new("rate", "RATE", "500/min", "Requests in any span of that length (N/s, N/min); 0 = no limit"),
    Flag::switch(
        "require-window",
        "true",
        "Refuse questions without from and to, or with more than 7 days between",
    ),
    Flag::switch("live", "false", "New calls arrive and go through their states"),
    Flag::many("fault", "KIND:SHARE", "A part of the answers to spoil, such as 429:0.05; repeatable"),
    LOG,
    LOG_FORMAT,
];

/// What `simulate` is told.
#[derive(Clone, Debug)]
pub struct Simulate {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many agents there are.
    pub agents: usize,
    /// How many executions each has.
    pub executions: usize,
    /// What the data is made from.
    pub seed: u64,
    /// How far back it goes.
    pub span: Duration,
    /// How long an answer takes.
    pub latency: Duration,
    /// Requests in any span of a length; none for no limit.
    pub rate: Option<Rate>,
    /// Whether questions without `from` and `to` are refused.
    pub requires_window: bool,
    /// Whether new calls arrive.
    pub is_live: bool,
    /// What part of the answers to spoil, and how.
    pub faults: Vec<FaultRate>,
    /// What is logged.
    pub log: Log,
}

/// What part of the answers to spoil, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRate {
    /// How, in the simulator's own word.
    pub kind: String,
    /// What part, above 0 and at most 1.
    pub share: f64,
}

/// Reads all settings.
///
/// # Errors
/// Every fault.
pub(super) fn read(mut reader: Reader) -> Result<Simulate, Faults> {
    let read = &mut reader;
    let simulate = read_all!(read, Simulate {
        listen: one("listen", values::address),
        agents: one("agents", values::count),
        executions: one("executions", values::count),
        seed: one("seed", values::number),
        span: one("span", values::length),
        latency: one("latency", values::length_or_zero),
        rate: one("rate", values::rate),
        requires_window: one("require-window", values::switch),
        is_live: one("live", values::switch),
        faults: many("fault", fault_rate),
        ;
        log: log,
    });
    reader.finish(simulate)
}

fn fault_rate(text: &str) -> Parsed<FaultRate> {
    let accepted = || "a kind of fault and its part of the answers, such as 429:0.05".to_owned();
    let (kind, share) = text.split_once(':').ok_or_else(accepted)?;
    let share = share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(accepted)?;
    let is_word = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_word { Ok(FaultRate { kind: kind.to_owned(), share }) } else { Err(accepted()) }
}
