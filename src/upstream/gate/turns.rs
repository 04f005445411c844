use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::source::{QuestionId, Urgency};

use super::flow::{Branch, Flow, ShareGroup};
use super::rotation::Rotation;

/// Hierarchical round robin over the waiting requests.
///
/// Callers take turns, then each caller's agents, then each agent's questions; within a question, requests
/// are served in order of arrival. In a caller's turn its refreshes precede its cold reads. Renewals, for
/// which no caller waits, are sent when no other request can be. All unproven keys count as one caller, whose
/// networks take turns instead of agents.
#[derive(Debug, Default)]
pub(super) struct Turns {
    groups: Rotation<ShareGroup, GroupLine>,
    count: usize,
    renewals: usize,
}

/// Identifies a waiting request. Later ones have greater numbers.
pub(super) type WaiterId = u64;

type Questions = Rotation<QuestionId, BTreeSet<WaiterId>>;
type Branches = Rotation<Branch, BranchLine>;

/// The requests of a group.
///
/// The arrays have an element for each [`Urgency`], see [`position`].
#[derive(Debug, Default)]
struct GroupLine {
    branches: [Branches; 3],
    counts: [usize; 3],
}

#[derive(Debug, Default)]
struct BranchLine {
    questions: Questions,
    count: usize,
}

/// When a request may be sent that may not now; `None` if only the end of another one makes room.
pub(super) type NotYet = Option<Instant>;

const fn position(urgency: Urgency) -> usize {
    match urgency {
        Urgency::Refresh => 0,
        Urgency::Cold => 1,
        Urgency::Renewal => 2,
    }
}

impl GroupLine {
    fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    fn up_to(&self, urgency: Urgency) -> usize {
        self.counts[..=position(urgency)].iter().sum()
    }
}

impl Turns {
    /// Queues a request behind those of its question.
    pub(super) fn push(&mut self, flow: &Flow, waiter: WaiterId) {
        let line = self.groups.join(flow.group);
        line.counts[position(flow.urgency)] += 1;
        let branch = line.branches[position(flow.urgency)].join(flow.branch);
        branch.count += 1;
        branch.questions.join(flow.question).insert(waiter);
        self.count += 1;
        self.renewals += usize::from(flow.urgency == Urgency::Renewal);
    }

    /// Removes a request from its queue, if it is there.
    pub(super) fn remove(&mut self, flow: &Flow, waiter: WaiterId) {
        let Some(line) = self.groups.get_mut(flow.group) else { return };
        let branches = &mut line.branches[position(flow.urgency)];
        let Some(branch) = branches.get_mut(flow.branch) else { return };
        let Some(queue) = branch.questions.get_mut(flow.question) else { return };
        if !queue.remove(&waiter) {
            return;
        }
        if queue.is_empty() {
            branch.questions.leave(flow.question);
        }
        branch.count -= 1;
        if branch.count == 0 {
            branches.leave(flow.branch);
        }
        line.counts[position(flow.urgency)] -= 1;
        if line.count() == 0 {
            self.groups.leave(flow.group);
        }
        self.count -= 1;
        self.renewals -= usize::from(flow.urgency == Urgency::Renewal);
    }

    /// Dequeues the request whose turn it is among those that may be sent; otherwise says when one may.
    ///
    /// `may_group` is asked once per group and urgency, `may_branch` once per branch.
    pub(super) fn next(
        &mut self,
        mut may_group: impl FnMut(ShareGroup, Urgency) -> Result<(), NotYet>,
        mut may_branch: impl FnMut(ShareGroup, Urgency, Branch) -> Result<(), NotYet>,
        beyond_share: impl Fn(ShareGroup) -> Option<usize>,
    ) -> Result<WaiterId, NotYet> {
        let mut soonest: NotYet = None;
        let mut not_yet = |at: NotYet| soonest = [soonest, at].into_iter().flatten().min();
        let mut found: Option<(Option<usize>, ShareGroup, Urgency, Branch)> = None;
        let orders: [&[Urgency]; 2] = [&[Urgency::Refresh, Urgency::Cold], &[Urgency::Renewal]];
        for urgencies in orders {
            if found.is_some() || (urgencies == [Urgency::Renewal] && self.renewals == 0) {
                break;
            }
            for (group, line) in self.groups.in_turn() {
                let held = beyond_share(group);
                if found.is_some_and(|(least, ..)| held >= least) {
                    continue;
                }
                let branch = urgencies.iter().find_map(|&urgency| {
                    let branches = &line.branches[position(urgency)];
                    if branches.is_empty() {
                        return None;
                    }
                    may_group(group, urgency).map_err(&mut not_yet).ok()?;
                    let mut in_turn = branches.in_turn().map(|(branch, _)| branch);
                    let may =
                        |branch: &Branch| may_branch(group, urgency, *branch).map_err(&mut not_yet).is_ok();
                    in_turn.find(may).map(|branch| (held, group, urgency, branch))
                });
                found = branch.or(found);
                if held.is_none() && branch.is_some() {
                    break;
                }
            }
        }
        let Some((_, group, urgency, branch)) = found else { return Err(soonest) };
        self.take(group, urgency, branch).ok_or(None)
    }

    /// Dequeues the next request of a branch. Branch and group have then had their turn.
    fn take(&mut self, group: ShareGroup, urgency: Urgency, branch: Branch) -> Option<WaiterId> {
        let line = self.groups.get_mut(group)?;
        let branches = &mut line.branches[position(urgency)];
        let lined = branches.get_mut(branch)?;
        let question = lined.questions.in_turn().next()?.0;
        let queue = lined.questions.get_mut(question)?;
        let waiter = queue.pop_first()?;
        if queue.is_empty() {
            lined.questions.leave(question);
        } else {
            lined.questions.had_turn(question);
        }
        lined.count -= 1;
        if lined.count == 0 {
            branches.leave(branch);
        } else {
            branches.had_turn(branch);
        }
        line.counts[position(urgency)] -= 1;
        if line.count() == 0 {
            self.groups.leave(group);
        } else {
            self.groups.had_turn(group);
        }
        self.count -= 1;
        self.renewals -= usize::from(urgency == Urgency::Renewal);
        Some(waiter)
    }

    /// All waiting requests of a caller, or of one branch of it.
    pub(super) fn waiting(&self, group: ShareGroup, branch: Option<Branch>) -> Vec<WaiterId> {
        let Some(line) = self.groups.get(group) else { return Vec::new() };
        let lined = line.branches.iter().flat_map(Rotation::in_turn);
        let lined = lined.filter(|(of, _)| branch.is_none_or(|branch| branch == *of));
        let queues = lined.flat_map(|(_, lined)| lined.questions.in_turn());
        queues.flat_map(|(_, queue)| queue.iter().copied()).collect()
    }

    /// The number of requests sent before the last one of a group up to this urgency, with `more` of the
    /// group queued behind it: all of its own, and of every other group as many as have turns meanwhile.
    pub(super) fn ahead(&self, group: ShareGroup, urgency: Urgency, more: usize) -> usize {
        let own = self.groups.get(group).map_or(0, |line| line.up_to(urgency)) + more;
        let others = self.groups.in_turn().filter(|(other, _)| *other != group);
        own.saturating_sub(1) + others.map(|(_, line)| line.up_to(Urgency::Cold).min(own)).sum::<usize>()
    }

    /// Whether a request of another group than this waits, renewals left out.
    pub(super) fn others_wait(&self, group: ShareGroup) -> bool {
        let own = self.groups.get(group).map_or(0, |line| line.up_to(Urgency::Cold));
        self.count - self.renewals > own
    }

    /// The number of waiting requests of a group.
    pub(super) fn len_of(&self, group: ShareGroup) -> usize {
        self.groups.get(group).map_or(0, GroupLine::count)
    }

    /// The number of waiting requests of a branch.
    pub(super) fn len_of_branch(&self, group: ShareGroup, branch: Branch) -> usize {
        let lines = self.groups.get(group).into_iter().flat_map(|line| &line.branches);
        lines.filter_map(|branches| branches.get(branch)).map(|lined| lined.count).sum()
    }

    /// Whether requests of a group wait.
    pub(super) fn has(&self, group: ShareGroup) -> bool {
        self.groups.get(group).is_some()
    }

    /// The number of groups with waiting requests.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The number of waiting requests.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
