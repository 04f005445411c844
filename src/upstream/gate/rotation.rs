use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Members that take turns: deficit round robin in its plainest form, since every request costs one.
///
/// It has no memory beyond the order: a member that leaves and returns joins at the end, with neither credit
/// nor debt. Each operation costs at most O(log n).
#[derive(Debug)]
pub(super) struct Rotation<K, T> {
    members: HashMap<K, RotationSlot<T>>,
    order: BTreeMap<u64, K>,
    next: u64,
}

#[derive(Debug)]
struct RotationSlot<T> {
    at: u64,
    value: T,
}

impl<K, T> Default for Rotation<K, T> {
    fn default() -> Self {
        Self { members: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }
}

impl<K: Copy + Eq + Hash, T> Rotation<K, T> {
    /// A member, which joins at the end if it is new.
    pub(super) fn join(&mut self, key: K) -> &mut T
    where
        T: Default,
    {
        let (order, next) = (&mut self.order, &mut self.next);
        let member = self.members.entry(key).or_insert_with(|| {
            let at = *next;
            *next += 1;
            order.insert(at, key);
            RotationSlot { at, value: T::default() }
        });
        &mut member.value
    }

    pub(super) fn get(&self, key: K) -> Option<&T> {
        self.members.get(&key).map(|member| &member.value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.members.get_mut(&key).map(|member| &mut member.value)
    }

    pub(super) fn leave(&mut self, key: K) -> Option<T> {
        let member = self.members.remove(&key)?;
        self.order.remove(&member.at);
        Some(member.value)
    }

    /// Moves a member to the end, because it had its turn.
    pub(super) fn had_turn(&mut self, key: K) {
        if let Some(member) = self.members.get_mut(&key) {
            self.order.remove(&member.at);
            member.at = self.next;
            self.order.insert(self.next, key);
            self.next += 1;
        }
    }

    /// All members, the one whose turn is next first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (K, &T)> {
        self.order.values().filter_map(|key| self.get(*key).map(|value| (*key, value)))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_and_one_that_returns_joins_at_the_end() {
        let mut rotation: Rotation<u8, u8> = Rotation::default();
        for key in [1, 2, 3] {
            *rotation.join(key) = key;
        }
        let order = |rotation: &Rotation<u8, u8>| rotation.in_turn().map(|(key, _)| key).collect::<Vec<_>>();
        rotation.had_turn(1);
        assert_eq!(order(&rotation), [2, 3, 1]);
        rotation.leave(2);
        rotation.join(2);
        assert_eq!(order(&rotation), [3, 1, 2]);
        assert_eq!(rotation.len(), 3);
    }
}
