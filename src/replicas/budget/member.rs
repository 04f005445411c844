//! One process's part in a shared budget: what it says to the server, and what it may send. No I/O, no clock.

use std::collections::{HashMap, VecDeque};

use super::call::{BudgetCall, BudgetReply, BudgetView, RequestName};
use super::terms::{BudgetTerms, Millis, SEEN};

/// The least change of the server's clock that counts as a jump.
const JUMP: Millis = 250;

/// By how much the end of a pause must move to be news.
const PAUSE_NEWS: Millis = 250;

/// A process that shares a budget. All times are by its own clock, except where the server's is named.
#[derive(Debug)]
pub(super) struct WindowMember {
    terms: BudgetTerms,
    process: u64,
    /// When the process began; none once the server has said that it has its share.
    born: Option<Millis>,
    link: MemberLink,
    /// Own requests that may still count, oldest first: no more than the rate, since each was permitted.
    own: VecDeque<OwnRequest>,
    next: u64,
    /// Others' requests that may still count: what the server loses, any process brings back.
    others: HashMap<RequestName, Millis>,
    /// When others sent what was not asked for yet.
    news: Vec<Millis>,
    /// What was known when the server was last heard.
    heard: Option<Heard>,
    /// How many parts the rate has.
    parts: u32,
    known: KnownWindow,
    pause: PauseNews,
}

/// Whether the server knows this process.
#[derive(Clone, Copy, Debug)]
enum MemberLink {
    /// It does not, or is not there. An epoch that is named must end. The clock and the epoch are those heard before.
    Away { forget: Option<u64>, before: Option<(ServerOffset, u64)>, has_failed: bool },
    /// It is known, but does not know this process or what it sent.
    Met { clock: ServerOffset, epoch: u64 },
    /// It knows everything.
    Joined { clock: ServerOffset, epoch: u64 },
}

/// How far the server's clock is ahead of the own one: at least, at most.
#[derive(Clone, Copy, Debug)]
struct ServerOffset(Millis, Millis);

#[derive(Clone, Copy, Debug)]
struct OwnRequest {
    number: u64,
    at: Millis,
}

/// What a member knew when the server was last heard.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// When it asked.
    at: Millis,
    /// How many requests it may send without permission until that is forgotten.
    alone: u32,
}

/// Which part of the window is known.
#[derive(Clone, Copy, Debug, Default)]
struct KnownWindow {
    epoch: Option<u64>,
    /// By the server's clock, all that others were permitted until then.
    until: Millis,
    /// The members. If they change, one may have brought earlier requests.
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

    /// Whether requests need no permission, since the server does not answer.
    pub(super) const fn is_alone(&self) -> bool {
        matches!(self.link, MemberLink::Away { has_failed: true, .. })
    }

    /// The next call, if it is sent now. `fresh` is random.
    pub(super) fn call(&mut self, now: Millis, want: u32, fresh: u64) -> BudgetCall {
        self.forget(now);
        // Up to 52 bits, and more than any clock shows: a number that Lua and a sorted set keep exactly.
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

    /// The last call: this process sends nothing any more. None if the server does not know it.
    pub(super) fn goodbye(&mut self, now: Millis) -> Option<BudgetCall> {
        let is_joined = self.is_joined();
        let call = BudgetCall { is_goodbye: true, ..self.call(now, 0, 0) };
        is_joined.then_some(call)
    }

    /// Takes in the reply to a call that was sent at `sent`. Returns the view, if it is of use: then as many requests may be
    /// sent as it grants.
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
        // A jump is noticed also after a time without the server.
        if let Some((before, known)) = self.link.last_heard()
            && clock.has_jumped(before)
        {
            // If another process noticed first, the epoch has ended already.
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
        // Twice what the others may be permitted within a second: that long they count on this process.
        let free = view.limit.saturating_sub(view.used).saturating_sub(2 * self.terms.at_once());
        self.heard = Some(Heard { at: sent, alone: free / self.parts });
        self.pause.heard(call.pause, now, view.pause);
        for number in call.first..call.first + u64::from(view.granted) {
            self.note(number, now);
        }
        Some(view)
    }

    /// There was no reply, or an error.
    pub(super) fn failed(&mut self) {
        // An epoch that must end still must.
        let forget = match self.link {
            MemberLink::Away { forget, .. } => forget,
            MemberLink::Met { .. } | MemberLink::Joined { .. } => None,
        };
        self.link = MemberLink::Away { forget, before: self.link.last_heard(), has_failed: true };
    }

    /// Takes a place for a request that is sent without permission, or says when there may be one.
    pub(super) fn take_alone(&mut self, now: Millis) -> Result<(), Millis> {
        self.forget(now);
        let mut at = now;
        let share = self.alone_share(now) as usize;
        if let Some(excess) = self.own.len().checked_sub(share) {
            at = self.own.get(excess).map_or(now + SEEN, |own| own.at + self.terms.keep());
        }
        if let Some(Heard { at: heard, alone: 0 }) = self.heard {
            // What was in the window then is no longer.
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

    /// How many requests it may send in a period without the server.
    pub(super) fn alone_share(&self, now: Millis) -> u32 {
        if self.is_young(now) { self.terms.young_share(self.parts) } else { self.terms.share(self.parts) }
    }

    /// When others sent requests, as far as this was not returned yet.
    pub(super) fn take_news(&mut self) -> Vec<Millis> {
        std::mem::take(&mut self.news)
    }

    /// Upstream wants nothing until then.
    pub(super) fn limited(&mut self, until: Millis) {
        self.pause.limited(until);
    }

    /// Until when upstream wants nothing, if another process said so since this was last asked.
    pub(super) fn take_pause(&mut self) -> Option<Millis> {
        std::mem::take(&mut self.pause.is_news).then_some(self.pause.until)
    }

    /// Whether what its predecessor sent may still count.
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
    /// The server's clock and the epoch when it was last heard.
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

    /// A reply to a call that reported a pause of `reported`, none if 0. The server says how long the pause still is.
    fn heard(&mut self, reported: Millis, now: Millis, rest: Millis) {
        self.is_unreported &= reported == 0;
        let until = now + rest;
        if rest > 0 && until > self.until + PAUSE_NEWS {
            self.until = until;
            self.is_news = true;
        }
    }
}
