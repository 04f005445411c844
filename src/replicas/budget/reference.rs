//! The script in Rust. It serves as the server in the model test, and the script is compared with it.

use std::collections::{BTreeSet, HashMap};

use super::call::{BudgetCall, BudgetReply, BudgetView, RequestName};
use super::terms::{BudgetTerms, Millis, SEEN};

/// The name that comes before all others.
const FIRST: RequestName = RequestName(0, 0);

/// A server with one window.
#[derive(Debug, Default)]
pub(super) struct ReferenceServer {
    epoch: Option<u64>,
    /// By process and number.
    window: HashMap<RequestName, Millis>,
    by_time: BTreeSet<(Millis, RequestName)>,
    members: HashMap<u64, ReferenceMember>,
    handed: u32,
    paused: Millis,
}

#[derive(Clone, Copy, Debug)]
struct ReferenceMember {
    seen: Millis,
    is_young: bool,
}

impl ReferenceServer {
    pub(super) fn run(
        &mut self,
        now: Millis,
        process: u64,
        call: &BudgetCall,
        terms: &BudgetTerms,
    ) -> BudgetReply {
        if self.epoch.is_none() || (call.forget.is_some() && self.epoch == call.forget) {
            (self.members, self.handed, self.paused) = (HashMap::new(), 0, 0);
            self.epoch = Some(call.fresh);
        }
        let epoch = self.epoch.unwrap_or_default();
        let nothing = BudgetReply { now, epoch, view: None };
        if call.epoch != Some(epoch) || now > call.sent + terms.timeout {
            return nothing;
        }
        self.expire(now - terms.keep());
        for (name, age) in &call.report {
            if call.sent - age > now - terms.keep() {
                self.put(*name, call.sent - age);
            }
        }
        let was_old = self.members.get(&process).is_some_and(|member| !member.is_young);
        if call.is_goodbye {
            self.members.remove(&process);
            if was_old {
                self.handed = (self.handed + 1).min(terms.replicas);
            }
            return nothing;
        }
        let mut is_young = call.is_young && !was_old;
        if self.handed > 0 && (is_young || !self.members.contains_key(&process)) {
            self.handed -= 1;
            is_young = false;
        }
        let member = ReferenceMember { seen: now.min(call.sent), is_young };
        self.members.insert(process, member);
        let mut view = self.count(now, terms);
        view.is_young = self.members.get(&process).is_some_and(|member| member.is_young);
        if call.pause > 0 {
            self.paused = self.paused.max(now + call.pause);
        }
        view.pause = (self.paused - now).max(0);
        self.grant(now, process, call, terms, &mut view);
        let news = self.by_time.range((call.since.min(now) + 1, FIRST)..(now + 1001, FIRST));
        let news = news.filter(|(_, name)| name.0 != process);
        view.others = news.map(|(at, name)| (*name, (now - at).max(0))).take(1000).collect();
        BudgetReply { now, epoch, view: Some(view) }
    }

    /// Deletes the key with the requests.
    pub(super) fn lose_window(&mut self) {
        self.epoch = None;
        self.window.clear();
        self.by_time.clear();
    }

    /// Deletes the key with the members.
    pub(super) fn lose_members(&mut self) {
        self.epoch = None;
    }

    fn count(&mut self, now: Millis, terms: &BudgetTerms) -> BudgetView {
        self.members.retain(|_, member| now - member.seen <= 10 * terms.keep());
        let is_seen = |member: &ReferenceMember| now - member.seen <= SEEN;
        let old = self.members.values().filter(|member| is_seen(member) && !member.is_young).count();
        let young = self.members.values().filter(|member| is_seen(member) && member.is_young).count();
        let (mut old, mut young) = (u32::try_from(old).unwrap(), u32::try_from(young).unwrap());
        let has_lost = self.members.values().any(|member| !is_seen(member) && !member.is_young);
        if old == 0 && young >= terms.replicas && !has_lost {
            self.members
                .values_mut()
                .filter(|member| is_seen(member))
                .for_each(|member| member.is_young = false);
            (old, young) = (young, 0);
        }
        let parts = terms.replicas.max(old);
        let limit = (terms.rate * old / parts + young * terms.young_share(parts)).min(terms.rate);
        BudgetView { members: old, young, parts, limit, ..BudgetView::default() }
    }

    fn grant(
        &mut self,
        now: Millis,
        process: u64,
        call: &BudgetCall,
        terms: &BudgetTerms,
        view: &mut BudgetView,
    ) {
        let recent = self.by_time.range((now - 999, FIRST)..(now + 1001, FIRST)).count();
        let (used, recent) = (u32::try_from(self.by_time.len()).unwrap(), u32::try_from(recent).unwrap());
        view.granted =
            call.want.min(view.limit.saturating_sub(used)).min(terms.at_once().saturating_sub(recent));
        if view.pause > 0 {
            view.granted = 0;
        }
        for number in call.first..call.first + u64::from(view.granted) {
            self.put(RequestName(process, number), now);
        }
        view.used = used + view.granted;
        if let Some(excess) = view.used.checked_sub(view.limit) {
            let last = self.by_time.iter().nth(excess as usize);
            view.wait = last.map_or(1000, |(at, ..)| at + terms.keep() - now);
        }
        if recent + view.granted >= terms.at_once() {
            view.wait = view.wait.max(100);
        }
        view.wait = view.wait.max(view.pause);
    }

    fn put(&mut self, name: RequestName, at: Millis) {
        if let Some(before) = self.window.insert(name, at) {
            self.by_time.remove(&(before, name));
        }
        self.by_time.insert((at, name));
    }

    fn expire(&mut self, until: Millis) {
        while let Some((_, name)) = self.by_time.first().copied().filter(|(at, _)| *at <= until) {
            self.by_time.pop_first();
            self.window.remove(&name);
        }
    }
}
