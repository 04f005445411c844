//! Clients that follow a question: after each response, they have exactly the rows of the answer.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::rows;
use crate::domain::EntrySlice;
use crate::engine::tests::Rig;
use crate::engine::{
    Comparison, Confirmation, Cursor, Finished, FollowedAgents, FollowedQuestion, Logging, Question,
    ResponseExtent, Verdict,
};

/// What a client has after a response.
#[derive(Clone)]
struct ModelClient {
    rows: BTreeMap<String, u32>,
    cursor: Cursor,
}

/// The states of all clients after each response, by question.
#[derive(Default)]
pub(super) struct ModelClients(RefCell<HashMap<String, Vec<ModelClient>>>);

/// A response that is compared with the rows of a client.
pub(super) struct ModelFollower<'a> {
    clients: &'a ModelClients,
    question: String,
    before: BTreeMap<String, u32>,
    comparison: Comparison,
}

impl ModelClients {
    /// A client asks with one of its cursors, old or new; `None` if the question can't be followed.
    pub(super) fn ask(&self, rig: &Rig, question: &Question) -> Option<ModelFollower<'_>> {
        if question.newest.is_some() {
            return None;
        }
        let Question { filters, any_status, from, to, .. } = question;
        let key = format!("{filters:?} {any_status:?} {from:?} {to:?}");
        let followed = FollowedQuestion::new(
            &question.credential,
            FollowedAgents::Some(vec![question.agent]),
            (filters, any_status.as_ref()),
            (*from, *to),
        );
        let clients = self.0.borrow();
        let had = clients.get(&key).map_or(&[][..], Vec::as_slice);
        // Mostly the latest, sometimes an older one.
        let age = (rig.clock.now().as_micros() / 1_000 % 7) as usize / 3;
        let client = had.len().checked_sub(age + 1).map(|at| had[at].clone());
        let (before, since) =
            client.map_or_else(Default::default, |client| (client.rows, Some(client.cursor)));
        let logging = if question.directives.no_store { Logging::Forbidden } else { Logging::Allowed };
        let by = (question.caller.id, question.credential.id());
        let mut comparison = rig.engine.compare(followed, since, by, logging);
        comparison.section(question.agent);
        Some(ModelFollower { clients: self, question: key, before, comparison })
    }
}

impl ModelFollower<'_> {
    /// The verdict of the answer is known from the start.
    pub(super) fn expect(&mut self, verdict: &Verdict) {
        self.comparison.expect(verdict);
    }

    /// The client applies the changes in an answer.
    pub(super) fn apply(mut self, rig: &Rig, question: &Question, slices: &[EntrySlice], verdict: &Verdict) {
        let mut has = match self.comparison.extent() {
            ResponseExtent::Everything => BTreeMap::new(),
            ResponseExtent::Changes | ResponseExtent::NothingOrGone => self.before,
        };
        for slice in slices {
            let changed = self.comparison.take(question.agent, slice.clone()).unwrap();
            has.extend(changed.iter().flat_map(rows));
        }
        let outcome = match rig.engine.finish(&mut self.comparison, verdict, Confirmation::Given) {
            Finished::Complete(outcome) => outcome,
            Finished::Gone => return,
            Finished::Doubtful(_) => unreachable!("the removal is confirmed"),
        };
        for removed in &outcome.removed {
            has.remove(&removed.id.to_string());
        }
        let given: BTreeMap<String, u32> = slices.iter().flat_map(rows).collect();
        assert_eq!(has, given, "a client that applies the changes has the answer");
        if let Ok(cursor) = outcome.cursor {
            let mut clients = self.clients.0.borrow_mut();
            clients.entry(self.question).or_default().push(ModelClient { rows: has, cursor });
        }
    }
}
