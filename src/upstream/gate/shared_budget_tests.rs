use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::tests::{asker, context, enter, gate};
use super::*;
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::source::Deadline;
use crate::tier::{BudgetChange, BudgetChangeKind, RequestTimes, SentRequest};
use crate::upstream::budget_memory::BudgetMemory;
use crate::upstream::retry::Cause;

const MINUTE: Duration = Duration::from_secs(60);

/// The requests of other processes, and whether they leave room.
#[derive(Default)]
struct ScriptedOthers {
    forbids: bool,
    changes: Mutex<Vec<BudgetChangeKind>>,
    pauses: Mutex<Vec<Timestamp>>,
}

impl RequestTimes for ScriptedOthers {
    fn sent_by_others(&self) -> Vec<SentRequest> {
        Vec::new()
    }

    fn note(&self, _: SentRequest) -> BoxFuture<'_, ()> {
        if self.forbids { std::future::pending().boxed() } else { std::future::ready(()).boxed() }
    }

    fn changes(&self) -> Vec<BudgetChange> {
        let credential = CredentialId::new([1; 16]);
        self.changes.lock().drain(..).map(|kind| BudgetChange { credential, kind }).collect()
    }

    fn limited(&self, _: CredentialId, until: Timestamp) {
        self.pauses.lock().push(until);
    }
}

fn memory(others: ScriptedOthers) -> (BudgetMemory, Arc<ScriptedOthers>) {
    let others = Arc::new(others);
    let times: Arc<dyn RequestTimes> = Arc::<ScriptedOthers>::clone(&others);
    (BudgetMemory { times: Some(times), clock: SteadyClock::from_wall() }, others)
}

#[tokio::test(start_paused = true)]
async fn a_request_without_room_gives_up_in_time_and_costs_nothing() {
    let (memory, _) = memory(ScriptedOthers { forbids: true, ..ScriptedOthers::default() });
    let (gate, began) = (gate(2, MINUTE, 1), Instant::now());
    let patience = Duration::from_secs(5);
    let mut context = context(Urgency::Refresh);
    context.deadline = Some(Deadline::at(began + patience));
    let refusal = memory.enter(&gate, asker(&context)).await.unwrap_err();
    assert!(matches!(refusal, GateRefusal::NoRoom(_)), "{refusal:?}");
    assert_eq!((began.elapsed(), context.budget_clock.waited()), (patience, patience));
    assert_eq!(gate.readings().budget_left, Some(2));
    assert_eq!(gate.readings().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_holds_until_it_is_raised_again() {
    let (memory, others) = memory(ScriptedOthers::default());
    let gate = gate(9, MINUTE, 9);
    let left = |kind| {
        others.changes.lock().push(kind);
        memory.count_others(&gate);
        gate.readings().budget_left
    };
    enter(&gate, &context(Urgency::Refresh)).await.unwrap().answered(None);
    assert_eq!(left(BudgetChangeKind::Limit(3)), Some(2));
    assert_eq!(left(BudgetChangeKind::Limit(0)), Some(0), "a share that is less than one");
    assert_eq!(left(BudgetChangeKind::Limit(9)), Some(8));
    assert_eq!(left(BudgetChangeKind::Limit(90)), Some(8), "never above the configured one");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_sent_once_the_limit_is_raised() {
    let (memory, others) = memory(ScriptedOthers::default());
    let (gate, context) = (gate(9, MINUTE, 9), context(Urgency::Refresh));
    others.changes.lock().push(BudgetChangeKind::Limit(1));
    memory.enter(&gate, asker(&context)).await.unwrap().answered(None);
    let began = Instant::now();
    let raise = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        others.changes.lock().push(BudgetChangeKind::Limit(9));
    };
    let (entered, ()) = tokio::join!(memory.enter(&gate, asker(&context)), raise);
    entered.unwrap().answered(None);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_429_that_another_process_saw_pauses_this_one_too() {
    let (memory, others) = memory(ScriptedOthers::default());
    let gate = gate(9, MINUTE, 9);
    let until = memory.clock.now().plus(Duration::from_secs(20));
    others.changes.lock().push(BudgetChangeKind::Pause(until));
    memory.count_others(&gate);
    assert_eq!(gate.readings().paused_for, Duration::from_secs(20));
    let began = Instant::now();
    enter(&gate, &context(Urgency::Refresh)).await.unwrap().answered(None);
    assert_eq!(began.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn the_others_learn_of_a_429_once_it_concerns_everyone() {
    let (memory, others) = memory(ScriptedOthers::default());
    let gate = gate(9, MINUTE, 9);
    let credential = CredentialId::new([1; 16]);
    memory.tell(&gate, credential, &Cause::Limited);
    assert_eq!(*others.pauses.lock(), [], "it is about one agent");
    let until = Instant::now() + Duration::from_secs(3);
    gate.change(credential, SharedChange::Pause(until));
    memory.tell(&gate, credential, &Cause::Malformed);
    assert_eq!(*others.pauses.lock(), []);
    memory.tell(&gate, credential, &Cause::Limited);
    assert_eq!(*others.pauses.lock(), [memory.clock.at(until)]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_refusals_seen_by_several_processes_counts_once() {
    let gate = gate(60, MINUTE, 60);
    let pass = enter(&gate, &context(Urgency::Refresh)).await.unwrap();
    let refused = enter(&gate, &context(Urgency::Refresh)).await.unwrap();
    // Refusals of two agents concern all requests; a single one does only with a pause from another process.
    refused.finish(PassOutcome::Limited(Some(Duration::from_secs(1))));
    drop(pass);
    let credential = CredentialId::new([1; 16]);
    gate.change(credential, SharedChange::Pause(Instant::now() + Duration::from_secs(2)));
    let share = gate.readings().rate_share;
    gate.change(credential, SharedChange::Pause(Instant::now() + Duration::from_secs(2)));
    assert_eq!(gate.readings().rate_share, share);
}
