use std::collections::{HashMap, VecDeque};

use crate::source::{QuestionId, Urgency};

use super::budget::{Kind, Standing};

/// Who waits, and whose turn is next.
///
/// Kinds go one after the other: refreshes, cold reads, renewals; of equal urgency the unproven keys before the
/// others, whose small share of the budget bounds them. Within a kind the questions take turns, and within a question
/// first come is first served: an export of a year never makes a dashboard wait for more than its own pages.
#[derive(Debug, Default)]
pub(super) struct Turns {
    kinds: [Rotation; 6],
}

/// Tells waiting requests apart.
pub(super) type WaiterId = u64;

/// All kinds, in the order in which they go.
pub(super) const KINDS: [Kind; 6] = [
    Kind { urgency: Urgency::Refresh, standing: Standing::Unproven },
    Kind { urgency: Urgency::Refresh, standing: Standing::Accepted },
    Kind { urgency: Urgency::Cold, standing: Standing::Unproven },
    Kind { urgency: Urgency::Cold, standing: Standing::Accepted },
    Kind { urgency: Urgency::Renewal, standing: Standing::Unproven },
    Kind { urgency: Urgency::Renewal, standing: Standing::Accepted },
];

const fn position(kind: Kind) -> usize {
    let urgency = match kind.urgency {
        Urgency::Refresh => 0,
        Urgency::Cold => 2,
        Urgency::Renewal => 4,
    };
    match kind.standing {
        Standing::Unproven => urgency,
        Standing::Accepted => urgency + 1,
    }
}

impl Turns {
    /// Lines a request up behind those of its question.
    pub(super) fn push(&mut self, kind: Kind, question: QuestionId, waiter: WaiterId) {
        self.kinds[position(kind)].push(question, waiter);
    }

    /// Whose turn it is among the requests of a kind.
    pub(super) fn pop(&mut self, kind: Kind) -> Option<WaiterId> {
        self.kinds[position(kind)].pop()
    }

    /// Frees the place of one that waits no more.
    pub(super) fn remove(&mut self, kind: Kind, question: QuestionId, waiter: WaiterId) {
        self.kinds[position(kind)].remove(question, waiter);
    }

    /// Whether any of a kind wait.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds[position(kind)].count > 0
    }

    /// How many of a kind wait, with those who go before them.
    pub(super) fn up_to(&self, kind: Kind) -> usize {
        self.kinds[..=position(kind)].iter().map(|k| k.count).sum()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(|k| k.count).sum()
    }
}

/// Queues that take turns.
#[derive(Debug, Default)]
struct Rotation {
    /// Each question that has a queue, once; the one whose turn is next in front.
    order: VecDeque<QuestionId>,
    queues: HashMap<QuestionId, VecDeque<WaiterId>>,
    count: usize,
}

impl Rotation {
    fn push(&mut self, question: QuestionId, waiter: WaiterId) {
        let queue = self.queues.entry(question).or_default();
        if queue.is_empty() {
            self.order.push_back(question);
        }
        queue.push_back(waiter);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<WaiterId> {
        let question = self.order.pop_front()?;
        let queue = self.queues.get_mut(&question)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&question);
        } else {
            self.order.push_back(question);
        }
        self.count -= 1;
        waiter
    }

    fn remove(&mut self, question: QuestionId, waiter: WaiterId) {
        let Some(queue) = self.queues.get_mut(&question) else { return };
        let Some(at) = queue.iter().position(|w| *w == waiter) else { return };
        queue.remove(at);
        self.count -= 1;
        if queue.is_empty() {
            self.queues.remove(&question);
            self.order.retain(|q| *q != question);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLD: Kind = KINDS[3];

    #[test]
    fn kinds_know_their_position() {
        for (i, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(position(kind), i);
        }
    }

    #[test]
    fn questions_take_turns_and_keep_their_own_order() {
        let (long, short) = (QuestionId::unique(), QuestionId::unique());
        let mut turns = Turns::default();
        for waiter in 0..5 {
            turns.push(COLD, long, waiter);
        }
        turns.push(COLD, short, 10);
        turns.push(COLD, short, 11);
        let order: Vec<_> = std::iter::from_fn(|| turns.pop(COLD)).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3, 4]);
    }

    #[test]
    fn one_that_leaves_frees_its_place() {
        let (a, b) = (QuestionId::unique(), QuestionId::unique());
        let mut turns = Turns::default();
        turns.push(COLD, a, 1);
        turns.push(COLD, b, 2);
        turns.push(COLD, a, 3);
        turns.remove(COLD, a, 1);
        turns.remove(COLD, a, 1);
        turns.remove(COLD, b, 2);
        assert_eq!(turns.len(), 1);
        assert_eq!(turns.pop(COLD), Some(3));
        assert_eq!(turns.pop(COLD), None);
        assert!(!turns.has(COLD));
    }

    proptest! {
        #[test]
        fn everybody_gets_one_turn_and_nobody_is_passed_by_twice(pushes in prop::collection::vec(0usize..5, 1..60)) {
            let questions: Vec<_> = (0..5).map(|_| QuestionId::unique()).collect();
            let mut turns = Turns::default();
            for (waiter, question) in pushes.iter().enumerate() {
                turns.push(COLD, questions[*question], waiter as u64);
            }
            let order: Vec<_> = std::iter::from_fn(|| turns.pop(COLD)).map(|w| w as usize).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..pushes.len()).collect::<Vec<_>>());
            // Between two turns of a question every other that still waits has exactly one.
            for (i, waiter) in order.iter().enumerate() {
                let question = pushes[*waiter];
                let next = order[i + 1..].iter().position(|w| pushes[*w] == question);
                if let Some(next) = next {
                    let mut between: Vec<_> = order[i + 1..i + 1 + next].iter().map(|w| pushes[*w]).collect();
                    let length = between.len();
                    between.sort_unstable();
                    between.dedup();
                    prop_assert_eq!(between.len(), length);
                }
            }
        }
    }
}
