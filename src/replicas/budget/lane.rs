//! Asks the server for permissions in one window, and releases waiting requests as they are granted.

use std::collections::VecDeque;
use std::future::pending;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;

use super::call::{BudgetCall, BudgetReply};
use super::link::BudgetLink;
use super::member::WindowMember;
use super::terms::{BudgetTerms, Millis, PULSE};
use crate::domain::CredentialId;
use crate::tier::{BudgetChangeKind, SentRequest};

/// The least time between two calls.
const PAUSE: Millis = 10;

/// The least time between two warnings that more processes share the rate than configured.
const WARNING_EVERY: Millis = 600_000;

/// One window of the server, and the requests that wait for it.
#[derive(Debug)]
pub(super) struct BudgetLane {
    /// With whose key its requests are sent.
    credential: CredentialId,
    keys: [Vec<u8>; 2],
    state: Mutex<SharedLane>,
    wake: Notify,
}

#[derive(Debug)]
struct SharedLane {
    member: WindowMember,
    /// Waiting requests; each may be sent when it gets a value. The gate bounds their number.
    waiting: VecDeque<oneshot::Sender<()>>,
    asked_at: Millis,
    /// When it may help to ask for more permissions.
    blocked_until: Millis,
    used_at: Millis,
    limit: u32,
    told_limit: Option<u32>,
    warned_at: Option<Millis>,
    seen: LaneReadings,
}

/// A lane's part of the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneReadings {
    /// The members that are seen, including this process; 0 while the server does not reply.
    pub(super) members: u32,
    /// How many more requests all processes together may send at once.
    pub(super) left: u32,
    /// How often the epoch has changed since the start.
    pub(super) epochs: u64,
    /// How long this process has kept to its own share since the start, without the current time.
    pub(super) alone: Millis,
    /// Since when it has kept to its own share, if it does now.
    alone_since: Option<Millis>,
    epoch: Option<u64>,
}

impl BudgetLane {
    pub(super) fn new(credential: CredentialId, keys: [Vec<u8>; 2], link: &BudgetLink) -> Self {
        let now = link.now();
        let state = SharedLane {
            member: WindowMember::new(link.terms, link.process, 0),
            waiting: VecDeque::new(),
            asked_at: now - PULSE,
            blocked_until: now,
            used_at: now,
            limit: link.terms.share(link.terms.replicas),
            told_limit: None,
            warned_at: None,
            seen: LaneReadings::default(),
        };
        Self { credential, keys, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Queues a request. It may be sent when the receiver gets a value.
    pub(super) fn line_up(&self, now: Millis) -> oneshot::Receiver<()> {
        let (say, said) = oneshot::channel();
        let mut state = self.state.lock();
        state.used_at = now;
        state.waiting.push_back(say);
        self.wake.notify_one();
        said
    }

    /// Whether nothing was sent for so long that the server drops the window.
    pub(super) fn is_idle(&self, link: &BudgetLink) -> bool {
        let state = self.state.lock();
        link.expiry > 0 && state.waiting.is_empty() && link.now() - state.used_at > link.expiry
    }

    /// Calls the script and releases requests, until the lane is idle.
    pub(super) async fn drive(&self, link: &BudgetLink) {
        let mut in_flight = None;
        loop {
            let now = link.now();
            let (alone, due) = self.state.lock().serve(now);
            if in_flight.is_none() && self.is_idle(link) {
                return;
            }
            if in_flight.is_none() && now >= due {
                in_flight = Some(self.ask(link).boxed());
            }
            let next = if in_flight.is_some() { alone } else { Some(alone.map_or(due, |at| at.min(due))) };
            tokio::select! {
                () = async { match &mut in_flight {
                    Some(asks) => asks.await,
                    None => pending().await,
                } } => in_flight = None,
                () = self.wake.notified() => {}
                () = async { match next {
                    Some(at) => sleep_until(link.instant(at)).await,
                    None => pending().await,
                } } => {}
            }
        }
    }

    async fn ask(&self, link: &BudgetLink) {
        let sent = link.now();
        let call = self.state.lock().begin(sent, &link.terms);
        let reply = link.run(&self.keys, &call).await;
        let now = link.now();
        self.state.lock().end(&call, (sent, now), reply, &link.terms);
    }

    /// Tells the other processes that this one has stopped sending. Must not run together with [`drive`](Self::drive).
    pub(super) async fn say_goodbye(&self, link: &BudgetLink) {
        let call = self.state.lock().member.goodbye(link.now());
        if let Some(call) = call {
            let _unneeded = link.run(&self.keys, &call).await;
        }
    }

    /// Returns what others sent since this was last called.
    pub(super) fn sent_by_others(&self, link: &BudgetLink) -> Vec<SentRequest> {
        let credential = self.credential;
        let news = self.state.lock().member.take_news();
        news.into_iter().map(|at| SentRequest { credential, at: link.timestamp(at) }).collect()
    }

    /// Returns what changed since this was last called.
    pub(super) fn changes(&self, link: &BudgetLink) -> (CredentialId, Vec<BudgetChangeKind>) {
        let mut state = self.state.lock();
        let mut changes = Vec::new();
        if let Some(until) = state.member.take_pause() {
            changes.push(BudgetChangeKind::Pause(link.timestamp(until)));
        }
        let limit = if state.member.is_alone() { state.member.alone_share(link.now()) } else { state.limit };
        if state.told_limit.replace(limit) != Some(limit) {
            changes.push(BudgetChangeKind::Limit(limit));
        }
        (self.credential, changes)
    }

    /// Notes that upstream's limit is reached until then.
    pub(super) fn limited(&self, until: Millis) {
        self.state.lock().member.limited(until);
    }

    pub(super) fn readings(&self, now: Millis) -> LaneReadings {
        let mut seen = self.state.lock().seen;
        seen.alone += seen.alone_since.map_or(0, |since| now - since);
        seen
    }
}

impl SharedLane {
    /// Releases requests that need no permission. Returns when the next of these may go, if any waits, and when the next call
    /// is due.
    fn serve(&mut self, now: Millis) -> (Option<Millis>, Millis) {
        self.waiting.retain(|waiter| !waiter.is_closed());
        let mut alone = None;
        while self.member.is_alone() && !self.waiting.is_empty() {
            match self.member.take_alone(now) {
                Ok(()) => self.let_one_go(),
                Err(at) => {
                    alone = Some(at);
                    break;
                }
            }
        }
        let pulse = self.asked_at + PULSE;
        let due = if self.member.is_joined() && !self.waiting.is_empty() {
            self.blocked_until.min(pulse)
        } else if self.member.is_joined() || self.member.is_alone() {
            pulse
        } else {
            self.asked_at + PAUSE
        };
        (alone, due)
    }

    fn let_one_go(&mut self) {
        while let Some(waiter) = self.waiting.pop_front() {
            if waiter.send(()).is_ok() {
                return;
            }
        }
    }

    fn begin(&mut self, now: Millis, terms: &BudgetTerms) -> BudgetCall {
        self.asked_at = now;
        let want = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).min(terms.at_once());
        self.member.call(now, want, rand::random())
    }

    fn end(
        &mut self,
        call: &BudgetCall,
        (sent, now): (Millis, Millis),
        reply: Option<BudgetReply>,
        terms: &BudgetTerms,
    ) {
        let view = match reply {
            Some(reply) => self.member.replied(call, sent, now, reply),
            None => {
                self.member.failed();
                None
            }
        };
        self.seen.note_link(&self.member, now);
        let Some(view) = view else { return };
        for _ in 0..view.granted {
            self.let_one_go();
        }
        self.blocked_until = if view.granted < call.want { now + view.wait.clamp(PAUSE, PULSE) } else { now };
        self.limit = view.limit;
        self.seen.members = view.members + view.young;
        self.seen.left = view.limit.saturating_sub(view.used);
        if view.members > terms.replicas && self.warned_at.is_none_or(|at| now - at > WARNING_EVERY) {
            self.warned_at = Some(now);
            let (seen, replicas) = (view.members, terms.replicas);
            tracing::warn!(
                target: "fanfold::tier",
                seen,
                replicas,
                "{seen} processes share the rate, and --replicas is {replicas}. While the tier is away, they may exceed it together."
            );
        }
    }
}

impl LaneReadings {
    fn note_link(&mut self, member: &WindowMember, now: Millis) {
        match (member.is_alone(), self.alone_since) {
            (true, None) => self.alone_since = Some(now),
            (false, Some(since)) => {
                self.alone += now - since;
                self.alone_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
        if !member.is_joined() {
            self.members = 0;
        }
        if let Some(epoch) = member.epoch().filter(|epoch| self.epoch != Some(*epoch)) {
            self.epochs += u64::from(self.epoch.is_some());
            self.epoch = Some(epoch);
        }
    }
}
