use std::collections::HashMap;

use super::flow::{Branch, ShareGroup};

/// Upstream's connections, counted by holder.
///
/// Requests in flight can't be withdrawn, so holders of many connections leave some for others: a caller
/// above its even share leaves an eighth of all connections, an agent above a quarter leaves three eighths.
/// Thus agents that hang leave enough for the same caller's other agents, and a caller whose agents all hang
/// leaves some for other callers.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    total: usize,
    groups: HashMap<ShareGroup, usize>,
    branches: HashMap<(ShareGroup, Branch), usize>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most, total: 0, groups: HashMap::new(), branches: HashMap::new() }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.total
    }

    pub(super) const fn has_room(&self) -> bool {
        self.total < self.most
    }

    /// The number held by an agent of a group.
    pub(super) fn held_by(&self, group: ShareGroup, branch: Branch) -> usize {
        self.branches.get(&(group, branch)).copied().unwrap_or(0)
    }

    /// Whether a group may have another connection while `waiting` groups want some.
    pub(super) fn may(&self, group: ShareGroup, waiting: usize) -> bool {
        let held = self.groups.get(&group).copied().unwrap_or(0);
        let callers = self.groups.len().max(waiting).max(2);
        match group {
            ShareGroup::Caller(_) => {
                let leaves = if held < (self.most / callers).max(1) { 0 } else { self.most / 8 };
                self.total + leaves < self.most
            }
            ShareGroup::Unproven => {
                let leaves = if held < (self.most / 10).max(1) { 0 } else { self.most / 2 };
                self.total + leaves < self.most
            }
        }
    }

    /// Whether an agent of a group may have another connection.
    pub(super) fn may_branch(&self, group: ShareGroup, branch: Branch) -> bool {
        let leaves = if self.held_by(group, branch) < (self.most / 4).max(1) { 0 } else { self.most / 8 * 3 };
        self.total + leaves < self.most
    }

    pub(super) fn take(&mut self, group: ShareGroup, branch: Branch) {
        self.total += 1;
        *self.groups.entry(group).or_default() += 1;
        *self.branches.entry((group, branch)).or_default() += 1;
    }

    pub(super) fn give_back(&mut self, group: ShareGroup, branch: Branch) {
        self.total = self.total.saturating_sub(1);
        release(&mut self.groups, group);
        release(&mut self.branches, (group, branch));
    }
}

fn release<K: Copy + Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{AgentId, CallerId};

    fn caller(n: u8) -> ShareGroup {
        ShareGroup::Caller(CallerId::Token([n; 16]))
    }

    fn agent(n: u128) -> Branch {
        Branch::Agent(AgentId::new(Uuid::from_u128(n)))
    }

    fn fill(connections: &mut Connections, group: ShareGroup, branch: Branch) -> usize {
        (0..100)
            .take_while(|_| {
                let may = connections.may(group, 1) && connections.may_branch(group, branch);
                if may {
                    connections.take(group, branch);
                }
                may
            })
            .count()
    }

    #[test]
    fn an_agent_and_a_caller_leave_connections_to_others() {
        let mut connections = Connections::new(32);
        assert_eq!(fill(&mut connections, caller(1), agent(1)), 20);
        assert_eq!(fill(&mut connections, caller(1), agent(2)), 8);
        assert_eq!(fill(&mut connections, caller(1), agent(3)), 0);
        assert_eq!(fill(&mut connections, caller(2), agent(1)), 4);
        assert!(!connections.has_room());
    }

    #[test]
    fn freed_connections_go_to_those_below_their_share() {
        let mut connections = Connections::new(32);
        (1..=4).for_each(|n| _ = fill(&mut connections, caller(1), agent(n)));
        fill(&mut connections, caller(2), agent(1));
        connections.give_back(caller(1), agent(1));
        assert!(!connections.may(caller(1), 2));
        assert!(connections.may(caller(2), 2));
    }

    #[test]
    fn unproven_keys_use_idle_connections_and_leave_half() {
        let mut connections = Connections::new(32);
        assert_eq!(
            fill(&mut connections, ShareGroup::Unproven, Branch::Peer(crate::domain::PeerGroup::Unknown)),
            16
        );
        assert!(fill(&mut connections, caller(1), agent(1)) >= 8);
    }

    #[test]
    fn anyone_may_use_a_single_connection() {
        for most in 1..4 {
            let mut connections = Connections::new(most);
            assert_eq!(fill(&mut connections, caller(1), agent(1)), most);
        }
    }
}
