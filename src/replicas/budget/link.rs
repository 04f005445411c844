use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::call::{BudgetCall, BudgetReply};
use super::terms::{BudgetTerms, Millis};
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::replicas::connection::LuaScript;
use crate::replicas::reply::ServerReply;
use crate::replicas::server::Server;

/// The script that keeps a window in the server.
pub(super) const WINDOW_TEXT: &str = include_str!("window.lua");
static WINDOW: LuaScript = LuaScript::new(WINDOW_TEXT);

/// What all windows of a process share: the terms, the server and the clock.
pub(super) struct BudgetLink {
    pub(super) terms: BudgetTerms,
    /// A random number that identifies the process.
    pub(super) process: u64,
    /// How long the server keeps an unused window; 0 if it never expires.
    pub(super) expiry: Millis,
    server: Arc<Server>,
    clock: SteadyClock,
    start: Instant,
}

impl BudgetLink {
    pub(super) fn new(terms: BudgetTerms, expiry: Millis, server: Arc<Server>, clock: SteadyClock) -> Self {
        Self { terms, process: rand::random(), expiry, server, clock, start: Instant::now() }
    }

    /// The process's clock: milliseconds since it began to share the budget.
    pub(super) fn now(&self) -> Millis {
        Millis::try_from(self.start.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    pub(super) fn instant(&self, at: Millis) -> Instant {
        self.start + Duration::from_millis(u64::try_from(at).unwrap_or_default())
    }

    pub(super) fn timestamp(&self, at: Millis) -> Timestamp {
        let (now, clock) = (self.now(), self.clock.now());
        let away = Duration::from_millis(at.abs_diff(now));
        if at < now { clock.minus(away) } else { clock.plus(away) }
    }

    pub(super) fn millis(&self, at: Timestamp) -> Millis {
        let ahead = Millis::try_from(at.since(self.clock.now()).as_millis()).unwrap_or(Millis::MAX / 2);
        self.now() + ahead
    }

    /// Runs the script. Returns `None` if there is no reply, or one of an unknown form.
    pub(super) async fn run(&self, keys: &[Vec<u8>; 2], call: &BudgetCall) -> Option<BudgetReply> {
        let args = call.args(self.process, &self.terms, self.expiry);
        let args: Vec<_> = args.iter().map(Vec::as_slice).collect();
        let keys = [keys[0].as_slice(), keys[1].as_slice()];
        read(self.server.script(&WINDOW, &keys, &args).await.ok()?)
    }
}

/// Reads a reply. Returns `None` if the script never returns such a reply.
pub(super) fn read(reply: ServerReply) -> Option<BudgetReply> {
    let (mut numbers, mut others) = (Vec::new(), Vec::new());
    for part in reply.list() {
        match part {
            ServerReply::Number(number) => numbers.push(number),
            ServerReply::Bytes(text) => others.push(String::from_utf8(text).ok()?),
            ServerReply::Nil | ServerReply::List(_) => return None,
        }
    }
    BudgetReply::read(&numbers, &others)
}

impl fmt::Debug for BudgetLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetLink").field("terms", &self.terms).finish_non_exhaustive()
    }
}
