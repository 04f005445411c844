use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{AgentId, CallerId};

fn flow(caller: u8, agent: u128, question: QuestionId, urgency: Urgency) -> Flow {
    let agent = AgentId::new(Uuid::from_u128(agent));
    let group = ShareGroup::Caller(CallerId::Token([caller; 16]));
    Flow { group, urgency, branch: Branch::Agent(agent), question, agent }
}

fn pop(turns: &mut Turns) -> Option<WaiterId> {
    turns.next(|_, _| Ok(()), |_, _, _| Ok(()), |_| None).ok()
}

fn all(turns: &mut Turns) -> Vec<WaiterId> {
    std::iter::from_fn(|| pop(turns)).collect()
}

#[test]
fn callers_take_turns_then_their_agents_then_their_questions() {
    let mut turns = Turns::default();
    let [a, b, c, d] = [(); 4].map(|()| QuestionId::unique());
    // The first caller: two questions of agent 1, one of agent 2. The second caller: one question.
    for (id, flow) in [
        flow(1, 1, a, Urgency::Cold),
        flow(1, 1, a, Urgency::Cold),
        flow(1, 1, b, Urgency::Cold),
        flow(1, 2, c, Urgency::Cold),
        flow(2, 1, d, Urgency::Cold),
        flow(2, 1, d, Urgency::Cold),
    ]
    .iter()
    .enumerate()
    {
        turns.push(flow, id as WaiterId);
    }
    assert_eq!(all(&mut turns), [0, 4, 3, 5, 2, 1]);
    assert_eq!((turns.len(), turns.groups()), (0, 0));
}

#[test]
fn one_callers_refreshes_do_not_delay_anothers_cold_reads() {
    let mut turns = Turns::default();
    let [a, b] = [(); 2].map(|()| QuestionId::unique());
    for id in 0..4 {
        turns.push(&flow(1, 1, a, Urgency::Refresh), id);
    }
    turns.push(&flow(1, 1, a, Urgency::Cold), 4);
    turns.push(&flow(2, 1, b, Urgency::Renewal), 5);
    turns.push(&flow(2, 1, b, Urgency::Cold), 6);
    assert_eq!(all(&mut turns), [0, 6, 1, 2, 3, 4, 5]);
}

#[test]
fn skips_an_agent_that_may_not_send() {
    let mut turns = Turns::default();
    let question = QuestionId::unique();
    turns.push(&flow(1, 1, question, Urgency::Refresh), 0);
    turns.push(&flow(1, 2, question, Urgency::Refresh), 1);
    let later = Instant::now();
    let slow = Branch::Agent(AgentId::new(Uuid::from_u128(1)));
    let may = |_, _, branch| if branch == slow { Err(Some(later)) } else { Ok(()) };
    assert_eq!(turns.next(|_, _| Ok(()), may, |_| None), Ok(1));
    assert_eq!(turns.next(|_, _| Ok(()), may, |_| None), Err(Some(later)));
    assert_eq!(turns.len(), 1);
}

#[test]
fn a_removed_request_holds_nothing() {
    let mut turns = Turns::default();
    let flow = flow(1, 1, QuestionId::unique(), Urgency::Cold);
    (0..3).for_each(|id| turns.push(&flow, id));
    turns.remove(&flow, 1);
    turns.remove(&flow, 1);
    assert_eq!((turns.len(), turns.len_of_branch(flow.group, flow.branch)), (2, 2));
    assert_eq!(all(&mut turns), [0, 2]);
    assert!(!turns.has(flow.group));
}

#[test]
fn counts_the_requests_that_have_turns_meanwhile() {
    let mut turns = Turns::default();
    let question = QuestionId::unique();
    (0..100).for_each(|id| turns.push(&flow(1, 1, question, Urgency::Cold), id));
    (100..103).for_each(|id| turns.push(&flow(2, 1, question, Urgency::Cold), id));
    let group = |caller| flow(caller, 1, question, Urgency::Cold).group;
    assert_eq!(turns.ahead(group(2), Urgency::Cold, 0), 5);
    assert_eq!(turns.ahead(group(2), Urgency::Cold, 2), 9);
    assert_eq!(turns.ahead(group(3), Urgency::Cold, 1), 2, "one each before a newcomer");
    assert_eq!(turns.ahead(group(1), Urgency::Cold, 0), 102);
}

proptest! {
    /// Between two turns of a caller, every other that still waits has exactly one.
    #[test]
    fn no_caller_is_passed_twice(pushes in prop::collection::vec((0u8..4, 0u128..3, 0usize..3), 1..80)) {
        let questions: Vec<_> = (0..3).map(|_| QuestionId::unique()).collect();
        let mut turns = Turns::default();
        for (id, (caller, agent, question)) in pushes.iter().enumerate() {
            turns.push(&flow(*caller, *agent, questions[*question], Urgency::Cold), id as WaiterId);
        }
        let order: Vec<_> = all(&mut turns).into_iter().map(|id| id as usize).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..pushes.len()).collect::<Vec<_>>());
        for (i, id) in order.iter().enumerate() {
            let caller = pushes[*id].0;
            if let Some(next) = order[i + 1..].iter().position(|id| pushes[*id].0 == caller) {
                let between: Vec<_> = order[i + 1..i + 1 + next].iter().map(|id| pushes[*id].0).collect();
                let mut distinct = between.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(between.len(), distinct.len());
            }
        }
    }
}

#[test]
fn callers_above_their_share_come_last_and_the_one_that_holds_least_first_of_them() {
    let mut turns = Turns::default();
    let [a, b, c] = [(); 3].map(|()| QuestionId::unique());
    for (id, flow) in
        [flow(1, 1, a, Urgency::Refresh), flow(2, 1, b, Urgency::Cold), flow(3, 1, c, Urgency::Cold)]
            .into_iter()
            .enumerate()
    {
        turns.push(&flow, id as WaiterId);
    }
    let beyond_share = |group| match group {
        ShareGroup::Caller(CallerId::Token([1, ..])) => Some(9),
        ShareGroup::Caller(CallerId::Token([2, ..])) => Some(8),
        ShareGroup::Caller(_) | ShareGroup::Unproven => None,
    };
    let order = std::iter::from_fn(|| turns.next(|_, _| Ok(()), |_, _, _| Ok(()), beyond_share).ok());
    assert_eq!(order.collect::<Vec<_>>(), [2, 1, 0]);
}
