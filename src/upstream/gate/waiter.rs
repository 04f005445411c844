use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::source::{QuestionId, Turn};

use super::breaker::{Admission, Role};
use super::budget::{Kind, Place};
use super::lanes::LaneKey;
use super::turns::WaiterId;
use super::{Asker, Gate, Pass, Refusal};

/// A request in line.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) lane: LaneKey,
    pub(super) kind: Kind,
    pub(super) question: QuestionId,
    wake: Arc<Notify>,
    fate: Option<Fate>,
}

/// What was decided for one in line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It goes since then, in this place of its budget.
    Go(Option<Place>, Instant),
    /// The breaker opened, for so long.
    Refused(Duration),
}

/// All requests in line, and which of them watches the clock.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: HashMap<WaiterId, Waiter>,
    driver: Option<WaiterId>,
    next: WaiterId,
}

impl Waiters {
    pub(super) fn add(&mut self, waiter: Waiter) -> WaiterId {
        let id = self.next;
        self.next += 1;
        self.all.insert(id, waiter);
        id
    }

    pub(super) fn get(&self, id: WaiterId) -> Option<&Waiter> {
        self.all.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Decides and tells.
    pub(super) fn decide(&mut self, id: WaiterId, fate: Fate) {
        if let Some(waiter) = self.all.get_mut(&id) {
            waiter.fate = Some(fate);
            waiter.wake.notify_one();
        }
    }

    /// Those in line, in no order.
    pub(super) fn undecided(&self) -> Vec<WaiterId> {
        self.all.iter().filter(|(_, w)| w.fate.is_none()).map(|(id, _)| *id).collect()
    }

    /// Has the driver look again.
    pub(super) fn wake_driver(&self) {
        if let Some(driver) = self.driver.and_then(|id| self.all.get(&id)) {
            driver.wake.notify_one();
        }
    }

    /// Has everybody look again.
    pub(super) fn wake_all(&self) {
        self.all.values().for_each(|w| w.wake.notify_one());
    }

    /// Whether this one watches the clock, as it does if nobody else did.
    fn drives(&mut self, id: WaiterId) -> bool {
        *self.driver.get_or_insert(id) == id
    }

    /// Takes one out. If it was the driver, another is woken, and becomes it.
    fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.all.remove(&id)?;
        if self.driver == Some(id) {
            self.driver = None;
            if let Some(heir) = self.all.values().find(|w| w.fate.is_none()) {
                heir.wake.notify_one();
            }
        }
        Some(waiter)
    }
}

/// Waits for a turn; see [`Gate::enter`].
pub(super) async fn enter(gate: &Gate, asker: Asker<'_>) -> Result<Pass, Refusal> {
    let began = Instant::now();
    let mut line = InLine::join(gate, asker, began)?;
    loop {
        match line.step(asker, began) {
            Step::Go(pass) => return Ok(pass),
            Step::Refused(refusal) => return Err(refusal),
            Step::Wait(Some(until)) => {
                tokio::select! {
                    () = line.wake.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Step::Wait(None) => line.wake.notified().await,
        }
    }
}

/// A place in line. Dropping it gives back what it holds.
struct InLine {
    gate: Gate,
    id: WaiterId,
    role: Role,
    wake: Arc<Notify>,
}

enum Step {
    Go(Pass),
    Refused(Refusal),
    Wait(Option<Instant>),
}

impl InLine {
    fn join(gate: &Gate, asker: Asker<'_>, now: Instant) -> Result<Self, Refusal> {
        let mut state = gate.lock();
        let role = match state.breaker.admit(now) {
            Admission::Go => Role::Ordinary,
            Admission::Probe => Role::Probe,
            Admission::Refuse(rest) => return Err(Refusal::Down(rest)),
        };
        let lane = state.lanes.key(asker.credential, now);
        let kind = Kind { urgency: asker.turn.urgency, standing: asker.standing };
        let wake = Arc::new(Notify::new());
        let waiter =
            Waiter { lane, kind, question: asker.turn.question, wake: Arc::clone(&wake), fate: None };
        let id = state.line_up(waiter);
        Ok(Self { gate: gate.clone(), id, role, wake })
    }

    fn step(&mut self, asker: Asker<'_>, began: Instant) -> Step {
        let now = Instant::now();
        let gate = self.gate.clone();
        let mut guard = gate.lock();
        let state = &mut *guard;
        let next = state.pump(now);
        let Some(Waiter { lane: key, kind, fate, .. }) = state.waiters.get(self.id).cloned() else {
            return Step::Refused(Refusal::Busy);
        };
        match fate {
            Some(Fate::Go(place, sent)) => {
                state.waiters.remove(self.id);
                let role = std::mem::replace(&mut self.role, Role::Ordinary);
                let place = place.and_then(|p| Some(state.lanes.get(key)?.budget.sent(p, now)));
                let gate = self.gate.clone();
                return Step::Go(Pass { gate, lane: key, kind, place, agent: asker.agent, role, sent });
            }
            Some(Fate::Refused(rest)) => return Step::Refused(Refusal::Down(rest)),
            None => {}
        }
        let give_up = give_up(asker.turn, began);
        if let (Some(give_up), Some(lane)) = (give_up, state.lanes.get(key)) {
            let earliest = lane.earliest(kind, now);
            if now >= give_up || earliest > give_up {
                return Step::Refused(if earliest > now {
                    Refusal::NoRoom(lane.likely(kind, now) - now)
                } else {
                    // The budget has room; so what was missing is a connection.
                    Refusal::Busy
                });
            }
        }
        if let Some(lane) = state.lanes.get(key)
            && lane.pace.is_barren(asker.turn.retry_for, now)
        {
            return Step::Refused(Refusal::NoRoom(lane.likely(kind, now) - now));
        }
        let watched = if state.waiters.drives(self.id) {
            next
        } else {
            // What this one waits for may come earlier than what the driver sleeps for.
            state.waiters.wake_driver();
            None
        };
        Step::Wait([watched, give_up].into_iter().flatten().min())
    }
}

/// When waiting any longer is of no use.
fn give_up(turn: &Turn, began: Instant) -> Option<Instant> {
    let patience = turn.budget_wait.and_then(|wait| began.checked_add(wait));
    let deadline = turn.deadline.as_ref().map(crate::source::Deadline::instant);
    [patience, deadline].into_iter().flatten().min()
}

impl Drop for InLine {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.gate.lock();
        if self.role == Role::Probe {
            state.breaker.abandoned(now);
        }
        let Some(waiter) = state.waiters.remove(self.id) else { return };
        match waiter.fate {
            None => state.leave_line(self.id, &waiter),
            Some(Fate::Go(place, _)) => {
                if let (Some(place), Some(lane)) = (place, state.lanes.get(waiter.lane)) {
                    lane.budget.give_back(place);
                }
                state.end(waiter.lane, waiter.kind, now);
            }
            Some(Fate::Refused(_)) => {}
        }
    }
}
