//! After each response a client has exactly the result, whatever happened to list, log and process.

mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::registry::ChangeLogs;
use super::*;
use crate::domain::{
    AgentId, CallerId, Credential, CredentialId, Digest, Entry, EntrySlice, FilterFacts, Filters, NewRow,
    Row, Timestamp,
};
use crate::engine::terms::{CacheReport, Freshness, Verdict};

/// The versions of rows, by id.
type VersionedRows = BTreeMap<String, u32>;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const CREDENTIAL: CredentialId = CredentialId::new([1; 16]);

fn agent(n: u128) -> AgentId {
    AgentId::new(Uuid::from_u128(n))
}

fn caller(n: u8) -> CallerId {
    CallerId::Token([n; 16])
}

/// A question; its number stands for its filters.
fn question(number: i64) -> FollowedQuestion {
    let credential = Credential::new(CREDENTIAL, "bn-1".to_owned().into());
    let agents = FollowedAgents::Some(vec![agent(1)]);
    let from = Some(Timestamp::from_micros(number));
    FollowedQuestion::new(&credential, agents, (&Filters::default(), None), (from, None))
}

/// Some ids are UUIDs, some are not.
fn id(n: u32) -> String {
    if n.is_multiple_of(3) { format!("{n}#2024") } else { Uuid::from_u128(u128::from(n) << 90).to_string() }
}

fn digest(id: &str, version: u32) -> Digest {
    let full = Sha256::digest(format!("{id} {version}"));
    Digest(full.iter().take(16).fold(0, |sum: u128, byte| sum << 8 | u128::from(*byte)))
}

fn slices(rows: &VersionedRows) -> Vec<EntrySlice> {
    let new: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(at, (id, version))| {
            let created_at = NOW.minus(Duration::from_secs(at as u64));
            let bytes = format!("{version}").into();
            let row = Row {
                id: id.as_str().into(),
                created_at: Some(created_at),
                updated_at: None,
                status: None,
                facts: FilterFacts::default(),
                bytes,
            };
            NewRow { row, created_at, read_at: NOW, is_doubted: false, digest: digest(id, *version) }
        })
        .collect();
    new.chunks(7).filter_map(|rows| EntrySlice::all(Arc::new(Entry::new(rows)), 0..rows.len())).collect()
}

fn verdict(rows: &VersionedRows) -> Verdict {
    let mut sum = Digest::default();
    rows.iter().for_each(|(id, version)| sum.add(digest(id, *version)));
    let count = rows.len() as u64;
    Verdict {
        as_of: NOW,
        count,
        total: Some(count),
        digest: sum,
        missing: Vec::new(),
        freshness: Freshness::default(),
        report: CacheReport::default(),
    }
}

/// The rows of a client, and its cursor.
#[derive(Clone, Debug, Default)]
struct Client {
    rows: VersionedRows,
    cursor: Option<String>,
}

/// A response in progress: its comparison, its result, and the rows that the client gets.
struct Response {
    comparison: Comparison,
    result: VersionedRows,
    given: VersionedRows,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// The verdict is known before any row is taken.
    Ahead,
    AtTheEnd,
}

fn compare(
    logs: &ChangeLogs,
    question: FollowedQuestion,
    by: u8,
    since: Option<&str>,
    at: Timestamp,
) -> Comparison {
    let since = since.map(|text| question.cursor(text).unwrap());
    let mut comparison =
        Comparison::begin(logs, question, since, (caller(by), CREDENTIAL), Logging::Allowed, at);
    comparison.section(agent(1));
    comparison
}

fn begin(logs: &ChangeLogs, client: &Client, result: &VersionedRows, knowledge: Knowledge) -> Response {
    let mut comparison = compare(logs, question(0), 1, client.cursor.as_deref(), NOW);
    if knowledge == Knowledge::Ahead {
        comparison.expect(&verdict(result));
    }
    Response { comparison, result: result.clone(), given: VersionedRows::new(), client: client.clone() }
}

impl Response {
    fn take_all(&mut self) {
        for slice in slices(&self.result) {
            let Some(changed) = self.comparison.take(agent(1), slice).unwrap() else { continue };
            for row in changed.rows() {
                let id = row.id().to_string();
                self.given.insert(id.clone(), self.result[&id]);
            }
        }
    }

    /// Ends the response; `None` if the cursor has expired.
    fn end(mut self, logs: &ChangeLogs) -> Option<Client> {
        let whole = self.comparison.extent() == ResponseExtent::Everything;
        match self.comparison.finish(logs, &verdict(&self.result), Confirmation::Given, NOW) {
            Finished::Gone => None,
            Finished::Doubtful(_) => unreachable!("the removal is confirmed"),
            Finished::Complete(outcome) => {
                let mut rows = if whole { VersionedRows::new() } else { self.client.rows };
                rows.extend(self.given);
                outcome.removed.iter().for_each(|removed| {
                    rows.remove(&removed.id.to_string());
                });
                assert_eq!(rows, self.result, "applying it gives the result");
                Some(Client { rows, cursor: Some(outcome.cursor.unwrap().to_string()) })
            }
        }
    }
}

#[derive(Clone, Debug)]
enum ListEvent {
    Put(u32, u32),
    Remove(u32),
    Clear,
    /// A client asks with a cursor that is this many responses old.
    Poll {
        age: usize,
        knowledge: Knowledge,
    },
    /// Begins a response that is ended later.
    Begin {
        age: usize,
    },
    EndBegun,
    /// The client of a response leaves.
    Break,
    Whole,
    Evict,
    Restart,
}

fn event() -> impl Strategy<Value = ListEvent> {
    let knowledge = || prop_oneof![Just(Knowledge::Ahead), Just(Knowledge::AtTheEnd)];
    prop_oneof![
        12 => (0u32..40, 0u32..4).prop_map(|(id, version)| ListEvent::Put(id, version)),
        6 => (0u32..40).prop_map(ListEvent::Remove),
        1 => Just(ListEvent::Clear),
        12 => (0usize..6, knowledge()).prop_map(|(age, knowledge)| ListEvent::Poll { age, knowledge }),
        4 => (0usize..6).prop_map(|age| ListEvent::Begin { age }),
        4 => Just(ListEvent::EndBegun),
        1 => Just(ListEvent::Break),
        1 => Just(ListEvent::Whole),
        1 => Just(ListEvent::Evict),
        1 => Just(ListEvent::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_clients_rows_are_the_result_after_every_response(events in proptest::collection::vec(event(), 1..120)) {
        let mut logs = ChangeLogs::new(1 << 20);
        let (mut truth, mut begun, mut had) = (VersionedRows::new(), Vec::new(), vec![Client::default()]);
        for event in events {
            let of_age = |had: &Vec<Client>, age: usize| had[had.len().saturating_sub(age + 1)].clone();
            match event {
                ListEvent::Put(n, version) => { truth.insert(id(n), version); }
                ListEvent::Remove(n) => { truth.remove(&id(n)); }
                ListEvent::Clear => truth.clear(),
                ListEvent::Poll { age, knowledge } => {
                    let mut response = begin(&logs, &of_age(&had, age), &truth, knowledge);
                    response.take_all();
                    // A client whose cursor has expired requests everything.
                    had.push(response.end(&logs).unwrap_or_default());
                }
                ListEvent::Begin { age } if begun.len() < 4 => {
                    let mut response = begin(&logs, &of_age(&had, age), &truth, Knowledge::AtTheEnd);
                    response.take_all();
                    begun.push(response);
                }
                ListEvent::EndBegun if !begun.is_empty() => had.extend(begun.remove(0).end(&logs)),
                ListEvent::Break => { begun.pop(); }
                ListEvent::Whole => had.push(Client::default()),
                ListEvent::Evict => logs.forget(None, None),
                ListEvent::Restart => logs = ChangeLogs::new(1 << 20),
                ListEvent::Begin { .. } | ListEvent::EndBegun => {}
            }
        }
    }
}

fn rows(count: u32) -> VersionedRows {
    (0..count).map(|n| (id(n), 0)).collect()
}

/// A response to a caller with the rows of `client`.
fn answer(logs: &ChangeLogs, client: &Client, result: &VersionedRows) -> Option<Client> {
    let mut response = begin(logs, client, result, Knowledge::AtTheEnd);
    response.take_all();
    response.end(logs)
}

#[test]
fn an_unchanged_result_has_the_same_cursor() {
    let logs = ChangeLogs::new(1 << 20);
    let first = answer(&logs, &Client::default(), &rows(100)).unwrap();
    let again = answer(&logs, &first, &rows(100)).unwrap();
    assert_eq!(first.cursor, again.cursor);
}

#[test]
fn a_lost_log_is_replaced_only_if_nothing_changed() {
    let (before, after) = (ChangeLogs::new(1 << 20), ChangeLogs::new(1 << 20));
    let first = answer(&before, &Client::default(), &rows(100)).unwrap();
    let same = answer(&after, &first, &rows(100)).unwrap();
    assert_ne!(first.cursor, same.cursor);
    assert!(answer(&after, &first, &rows(101)).is_none(), "the new log has another number");
    assert!(answer(&after, &same, &rows(101)).is_some());
}

#[test]
fn the_removal_of_most_rows_is_reported_only_once_confirmed() {
    for (left, is_doubtful) in [(0, true), (99, true), (100, false), (150, false)] {
        let logs = ChangeLogs::new(1 << 20);
        let first = answer(&logs, &Client::default(), &rows(200)).unwrap();
        let mut response = begin(&logs, &first, &rows(left), Knowledge::AtTheEnd);
        response.take_all();
        let finished = response.comparison.finish(&logs, &verdict(&rows(left)), Confirmation::Needed, NOW);
        match finished {
            Finished::Doubtful(vanished) => {
                assert!(is_doubtful && vanished[0].rows.len() == 200 - left as usize, "{left}");
                assert!(vanished[0].is_listed);
            }
            other @ (Finished::Complete(_) | Finished::Gone) => assert!(!is_doubtful, "{left}: {other:?}"),
        }
    }
}

#[test]
fn the_removal_of_a_few_rows_needs_no_confirmation() {
    let logs = ChangeLogs::new(1 << 20);
    let first = answer(&logs, &Client::default(), &rows(50)).unwrap();
    let mut response = begin(&logs, &first, &VersionedRows::new(), Knowledge::AtTheEnd);
    response.take_all();
    let finished =
        response.comparison.finish(&logs, &verdict(&VersionedRows::new()), Confirmation::Needed, NOW);
    assert!(matches!(finished, Finished::Complete(_)), "{finished:?}");
}

#[test]
fn a_response_with_all_rows_is_doubtful_too_if_it_lost_most_of_them() {
    let logs = ChangeLogs::new(1 << 20);
    answer(&logs, &Client::default(), &rows(200)).unwrap();
    let mut response = begin(&logs, &Client::default(), &rows(10), Knowledge::AtTheEnd);
    response.take_all();
    let finished = response.comparison.finish(&logs, &verdict(&rows(10)), Confirmation::Needed, NOW);
    assert!(
        matches!(finished, Finished::Doubtful(_)),
        "other clients would get them as removed: {finished:?}"
    );
}

#[test]
fn removed_rows_are_remembered_up_to_a_limit_and_older_cursors_expire() {
    let logs = ChangeLogs::new(64 << 20);
    let (first, mut client) = {
        let first = answer(&logs, &Client::default(), &rows(3_000)).unwrap();
        (first.clone(), first)
    };
    let mut lost = None;
    for round in 1..5u32 {
        let others: VersionedRows = (0..3_000).map(|n| (id(round * 10_000 + n), 0)).collect();
        client = answer(&logs, &client, &others).unwrap();
        if answer(&logs, &first, &others).is_none() {
            lost.get_or_insert(round);
        }
        assert!(logs.stats().bytes < 64 * 11_000, "{}", logs.stats().bytes);
    }
    assert_eq!(lost, Some(3), "two rounds are remembered");
}

#[test]
fn no_store_creates_neither_a_log_nor_a_cursor() {
    let logs = ChangeLogs::new(1 << 20);
    let by = (caller(1), CREDENTIAL);
    let mut comparison = Comparison::begin(&logs, question(0), None, by, Logging::Forbidden, NOW);
    for slice in slices(&rows(10)) {
        comparison.take(agent(1), slice).unwrap();
    }
    let finished = comparison.finish(&logs, &verdict(&rows(10)), Confirmation::Needed, NOW);
    let Finished::Complete(outcome) = finished else { panic!("{finished:?}") };
    assert_eq!((outcome.cursor, logs.stats().logs), (Err(NotKept::NoStore), 0));
}

/// A response over several agents, with the rows of each listed one.
fn of_several(
    logs: &ChangeLogs,
    since: Option<&str>,
    agents: &[(u128, VersionedRows)],
) -> (Comparison, Verdict) {
    let credential = Credential::new(CREDENTIAL, "bn-1".to_owned().into());
    let all =
        FollowedQuestion::new(&credential, FollowedAgents::All, (&Filters::default(), None), (None, None));
    let since = since.map(|text| all.cursor(text).unwrap());
    let mut comparison = Comparison::begin(logs, all, since, (caller(1), CREDENTIAL), Logging::Allowed, NOW);
    let mut whole = verdict(&VersionedRows::new());
    for (number, rows) in agents {
        comparison.section(agent(*number));
        for slice in slices(rows) {
            comparison.take(agent(*number), slice).unwrap();
        }
        whole.digest.add(verdict(rows).digest);
        whole.count += rows.len() as u64;
    }
    (comparison, whole)
}

#[test]
fn new_agents_bring_rows_and_missing_agents_are_confirmed() {
    let logs = ChangeLogs::new(1 << 20);
    let rows_of = |from: u32| (from..from + 5).map(|n| (id(n), 0)).collect::<VersionedRows>();
    let (mut first, verdict) = of_several(&logs, None, &[(1, rows_of(0)), (2, rows_of(100))]);
    let Finished::Complete(outcome) = first.finish(&logs, &verdict, Confirmation::Needed, NOW) else {
        panic!()
    };
    let cursor = outcome.cursor.unwrap().to_string();
    let (mut next, verdict) = of_several(&logs, Some(&cursor), &[(2, rows_of(100)), (3, rows_of(200))]);
    let Finished::Doubtful(vanished) = next.finish(&logs, &verdict, Confirmation::Needed, NOW) else {
        panic!()
    };
    assert_eq!((vanished.len(), vanished[0].agent, vanished[0].is_listed), (1, agent(1), false));
    let Finished::Complete(outcome) = next.finish(&logs, &verdict, Confirmation::Given, NOW) else {
        panic!()
    };
    assert!(outcome.removed.len() == 5 && outcome.removed.iter().all(|removed| removed.agent == agent(1)));
    let (mut empty, none) = of_several(&logs, Some(&cursor), &[(2, VersionedRows::new()), (3, rows_of(200))]);
    let finished = empty.finish(&logs, &none, Confirmation::Needed, NOW);
    assert!(matches!(finished, Finished::Complete(_)), "a listed agent may lose a few rows: {finished:?}");
}

#[test]
fn an_answer_that_starts_again_removes_only_its_own_rows() {
    let logs = ChangeLogs::new(1 << 20);
    let (two, one) = (rows(20), rows(7));
    let (mut comparison, _) = of_several(&logs, None, &[(1, two.clone()), (2, rows(3))]);
    comparison.restart(agent(1));
    for slice in slices(&one) {
        comparison.take(agent(1), slice).unwrap();
    }
    let (_, expected) = of_several(&logs, None, &[(1, one), (2, rows(3))]);
    let Finished::Complete(outcome) = comparison.finish(&logs, &expected, Confirmation::Needed, NOW) else {
        panic!()
    };
    assert!(outcome.cursor.unwrap().is_of(expected.digest, expected.count));
}
