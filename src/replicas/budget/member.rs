//! One process's part in a shared budget: what it tells the server, and what it may send. No I/O and no clock.

use std::collections::{HashMap, VecDeque};

use super::call::{BudgetCall, BudgetReply, BudgetView, RequestName};
use super::terms::{BudgetTerms, Millis, SEEN};

/// The least change of the server's clock that counts as a jump.
const JUMP: Millis = 250;

/// The least move of a pause's end that is passed on.
const PAUSE_NEWS: Millis = 250;

/// A process that shares a budget. All times are by its own clock unless the server's clock is named.
#[derive(Debug)]
pub(super) struct WindowMember {
    terms: BudgetTerms,
    process: u64,
    /// When the process began; `None` once the server has granted it a full share.
    born: Option<Millis>,
    link: MemberLink,
    /// Own requests that may still count, oldest first. Since each was permitted, there are at most as many as the rate.
    own: VecDeque<OwnRequest>,
    next: u64,
    /// Others' requests that may still count. If the server loses them, this process reports them.
    others: HashMap<RequestName, Millis>,
    /// The times of others' requests that `take_news` has not returned yet.
    news: Vec<Millis>,
    /// What the server's last reply permits without it.
    heard: Option<Heard>,
    /// How many parts the rate has.
    parts: u32,
    known: KnownWindow,
    pause: PauseNews,
}

/// Whether the server knows this process.
#[derive(Clone, Copy, Debug)]
enum MemberLink {
    /// It does not, or does not reply. `forget` is an epoch that must end; `before` has the clock and epoch of the last reply.
    Away { forget: Option<u64>, before: Option<(ServerOffset, u64)>, has_failed: bool },
    /// The server replied, but does not know this process yet, nor what it sent.
    Met { clock: ServerOffset, epoch: u64 },
    /// It knows this process and all that it sent.
    Joined { clock: ServerOffset, epoch: u64 },
}

/// How far the server's clock is ahead of this process's: at least, and at most.
#[derive(Clone, Copy, Debug)]
struct ServerOffset(Millis, Millis);

#[derive(Clone, Copy, Debug)]
struct OwnRequest {
    number: u64,
    at: Millis,
}

/// What the server's last reply permits without it.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// When the call was sent.
    at: Millis,
    /// How many requests may be sent without permission until this expires.
    alone: u32,
}

/// The part of the window that this process knows.
#[derive(Clone, Copy, Debug, Default)]
struct KnownWindow {
    epoch: Option<u64>,
    /// All permissions of others up to this time, by the server's clock, are known.
    until: Millis,
    /// The numbers of old and young members. If they change, a member may have reported earlier requests.
    members: (u32, u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct PauseNews {
    until: Millis,
    is_unreported: bool,
    is_news: bool,
}

impl WindowMember {
    pub(super) fn new(terms: BudgetTerms, process: u64, now: Millis) -> Self {
        Self {
            terms,
            process,
            born: Some(now),
            link: MemberLink::Away { forget: None, before: None, has_failed: false },
            own: VecDeque::new(),
            next: 0,
            others: HashMap::new(),
            news: Vec::new(),
            heard: None,
            parts: terms.replicas.max(1),
            known: KnownWindow::default(),
            pause: PauseNews::default(),
        }
    }

    /// Whether requests need the server's permission.
    pub(super) const fn is_joined(&self) -> bool {
        matches!(self.link, MemberLink::Joined { .. })
    }

    /// The epoch that it belongs to, if it does.
    pub(super) const fn epoch(&self) -> Option<u64> {
        match self.link {
            MemberLink::Joined { epoch, .. } => Some(epoch),
            MemberLink::Away { .. } | MemberLink::Met { .. } => None,
        }
    }

    /// Whether requests need no permission because the server does not reply.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.link, MemberLink::Away { has_failed: true, .. })
    }

    /// Returns the next call, to be sent now. `fresh` is random.
    pub(super) fn call(&mut self, now: Millis, want: u32, fresh: u64) -> BudgetCall {
        self.forget(now);
        // 52 bits, which Lua and a sorted set keep exactly. More than any clock shows, so that it never expires as a score.
        let fresh = (1 << 51) | (fresh >> 13);
        let mut call = BudgetCall {
            epoch: None,
            forget: None,
            fresh,
            sent: 0,
            is_young: self.is_young(now),
            want: 0,
            first: self.next,
            pause: 0,
            is_goodbye: false,
            since: self.known.until,
            report: Vec::new(),
        };
        let (MemberLink::Met { clock, epoch } | MemberLink::Joined { clock, epoch }) = self.link else {
            if let MemberLink::Away { forget, .. } = self.link {
                call.forget = forget;
            }
            return call;
        };
        call.epoch = Some(epoch);
        call.sent = now + clock.1;
        call.want = want;
        self.next += u64::from(want);
        if self.pause.is_unreported {
            call.pause = (self.pause.until - now).max(0);
        }
        if let MemberLink::Met { .. } = self.link {
            let own = self.own.iter().map(|own| (RequestName(self.process, own.number), now - own.at));
            let others = self.others.iter().map(|(name, at)| (*name, now - at));
            let is_lost = self.known.epoch != Some(epoch);
            call.report = own.chain(others.filter(|_| is_lost)).collect();
        }
        call
    }

    /// Returns the last call, which says that this process has stopped sending; `None` if the server does not know it.
    pub(super) fn goodbye(&mut self, now: Millis) -> Option<BudgetCall> {
        let is_joined = self.is_joined();
        let call = BudgetCall { is_goodbye: true, ..self.call(now, 0, 0) };
        is_joined.then_some(call)
    }

    /// Takes in the reply to a call that was sent at `sent`. Returns the view unless it can't be used; as many requests may then
    /// be sent as it grants.
    pub(super) fn replied(
        &mut self,
        call: &BudgetCall,
        sent: Millis,
        now: Millis,
        reply: BudgetReply,
    ) -> Option<BudgetView> {
        if now - sent > self.terms.timeout {
            self.failed();
            return None;
        }
        let clock = ServerOffset(reply.now - now, reply.now - sent);
        let BudgetReply { epoch, view, .. } = reply;
        // Compared with the last reply, even if calls failed in between.
        if let Some((before, known)) = self.link.last_heard()
            && clock.has_jumped(before)
        {
            // If another process noticed the jump first, that epoch has ended already.
            let forget = (known == epoch).then_some(epoch);
            self.link = MemberLink::Away { forget, before: None, has_failed: false };
            return None;
        }
        let Some(view) = view else {
            self.link = MemberLink::Met { clock, epoch };
            return None;
        };
        self.link = MemberLink::Joined { clock, epoch };
        let members = (view.members, view.young);
        let until = if members == self.known.members { reply.now - 1 } else { 0 };
        self.known = KnownWindow { epoch: Some(epoch), until, members };
        for (name, age) in &view.others {
            if *age < self.terms.keep() && self.others.insert(*name, now - age).is_none() {
                self.news.push(now - age);
            }
        }
        self.born = self.born.filter(|_| view.is_young);
        self.parts = view.parts.max(1);
        // Less twice what the others may be permitted within a second: see "What is guaranteed" in the module `budget`.
        let free = view.limit.saturating_sub(view.used).saturating_sub(2 * self.terms.at_once());
        self.heard = Some(Heard { at: sent, alone: free / self.parts });
        self.pause.heard(call.pause, now, view.pause);
        for number in call.first..call.first + u64::from(view.granted) {
            self.note(number, now);
        }
        Some(view)
    }

    /// Notes that a call had no reply, or an error.
    pub(super) fn failed(&mut self) {
        // If an epoch must end, the next call has to say so again.
        let forget = match self.link {
            MemberLink::Away { forget, .. } => forget,
            MemberLink::Met { .. } | MemberLink::Joined { .. } => None,
        };
        self.link = MemberLink::Away { forget, before: self.link.last_heard(), has_failed: true };
    }

    /// Counts a request that is sent without permission.
    ///
    /// # Errors
    /// When to try again, if there is no room for it now.
    pub(super) fn take_alone(&mut self, now: Millis) -> Result<(), Millis> {
        self.forget(now);
        let mut at = now;
        let share = self.alone_share(now) as usize;
        if let Some(excess) = self.own.len().checked_sub(share) {
            at = self.own.get(excess).map_or(now + SEEN, |own| own.at + self.terms.keep());
        }
        if let Some(Heard { at: heard, alone: 0 }) = self.heard {
            // By then, all that was in the window has expired.
            at = at.max(heard + SEEN + self.terms.keep());
        }
        if at > now {
            return Err(at);
        }
        if let Some(heard) = &mut self.heard {
            heard.alone -= 1;
        }
        self.note(self.next, now);
        self.next += 1;
        Ok(())
    }

    /// How many requests this process may send in a period without the server.
    pub(super) fn alone_share(&self, now: Millis) -> u32 {
        if self.is_young(now) { self.terms.young_share(self.parts) } else { self.terms.share(self.parts) }
    }

    /// Returns the times of others' requests since this was last called.
    pub(super) fn take_news(&mut self) -> Vec<Millis> {
        std::mem::take(&mut self.news)
    }

    /// Notes that upstream's limit is reached until then.
    pub(super) fn limited(&mut self, until: Millis) {
        self.pause.limited(until);
    }

    /// Returns the end of the pause, if another process reported one since this was last called.
    pub(super) fn take_pause(&mut self) -> Option<Millis> {
        std::mem::take(&mut self.pause.is_news).then_some(self.pause.until)
    }

    /// Whether requests of this process's predecessor may still count.
    fn is_young(&self, now: Millis) -> bool {
        self.born.is_some_and(|born| now - born <= self.terms.keep())
    }

    fn note(&mut self, number: u64, at: Millis) {
        self.own.push_back(OwnRequest { number, at });
    }

    fn forget(&mut self, now: Millis) {
        let keep = self.terms.keep();
        while self.own.front().is_some_and(|own| own.at + keep <= now) {
            self.own.pop_front();
        }
        self.others.retain(|_, at| *at + keep > now);
        self.news.retain(|at| *at + keep > now);
        self.heard = self.heard.filter(|heard| now < heard.at + SEEN + keep);
    }
}

impl MemberLink {
    /// The server's clock and the epoch at the last reply.
    const fn last_heard(&self) -> Option<(ServerOffset, u64)> {
        match self {
            Self::Away { before, .. } => *before,
            Self::Met { clock, epoch } | Self::Joined { clock, epoch } => Some((*clock, *epoch)),
        }
    }
}

impl ServerOffset {
    fn has_jumped(self, before: Self) -> bool {
        self.0 > before.1 + JUMP || self.1 < before.0 - JUMP
    }
}

impl PauseNews {
    fn limited(&mut self, until: Millis) {
        if until > self.until + PAUSE_NEWS {
            *self = Self { until, is_unreported: true, is_news: self.is_news };
        }
    }

    /// Takes in a reply to a call that reported a pause of `reported`, 0 for none. `rest` is how long the server's pause still
    /// lasts.
    fn heard(&mut self, reported: Millis, now: Millis, rest: Millis) {
        self.is_unreported &= reported == 0;
        let until = now + rest;
        if rest > 0 && until > self.until + PAUSE_NEWS {
            self.until = until;
            self.is_news = true;
        }
    }
}
