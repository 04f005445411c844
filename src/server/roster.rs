use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::flow::ConnectionFlow;

/// How long a connection without a request is kept even if others need room, because its request may be on its way.
const LET_BE: Duration = Duration::from_secs(1);

/// The connections of a listener, from which an idle one can be closed to make room.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<OpenConnections>);

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    flows: HashMap<u64, Arc<ConnectionFlow>>,
}

/// A connection's entry in the roster. Dropping it removes the connection.
#[derive(Debug)]
pub(super) struct RosterEntry {
    roster: Arc<Roster>,
    number: u64,
}

impl Roster {
    pub(super) fn enter(self: &Arc<Self>, flow: Arc<ConnectionFlow>) -> RosterEntry {
        let mut connections = self.0.lock();
        let number = connections.next;
        connections.next += 1;
        connections.flows.insert(number, flow);
        RosterEntry { roster: Arc::clone(self), number }
    }

    /// Tells one idle connection to close: first one that has never sent a request, otherwise the one that has been idle
    /// longest.
    pub(super) fn shed(&self) {
        let connections = self.0.lock();
        let before = Instant::now().checked_sub(LET_BE);
        let idle = connections.flows.values().filter_map(|flow| {
            let since = flow.idle_since().filter(|since| before.is_some_and(|before| *since <= before))?;
            Some((flow.progress().requests > 0, since, flow))
        });
        if let Some((_, _, flow)) = idle.min_by_key(|(has_asked, since, _)| (*has_asked, *since)) {
            flow.shed();
        }
    }
}

impl Drop for RosterEntry {
    fn drop(&mut self) {
        self.roster.0.lock().flows.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::heads::Heads;

    fn flow() -> Arc<ConnectionFlow> {
        Arc::new(ConnectionFlow::new(Arc::new(Heads::new(0))))
    }

    fn was_told(flow: &ConnectionFlow) -> bool {
        futures_util::FutureExt::now_or_never(flow.until_shed()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn closes_connections_that_never_sent_a_request_first_then_the_longest_idle() {
        let roster = Arc::new(Roster::default());
        let (asked, silent, busy) = (flow(), flow(), flow());
        asked.answer_begun();
        asked.answer_ended();
        busy.answer_begun();
        let entries = [&asked, &silent, &busy].map(|flow| roster.enter(Arc::clone(flow)));
        tokio::time::advance(Duration::from_secs(2)).await;
        let late = flow();
        late.answer_begun();
        late.answer_ended();
        let _entry = roster.enter(Arc::clone(&late));

        roster.shed();
        assert!(was_told(&silent) && !was_told(&asked));
        roster.shed();
        assert!(was_told(&asked));
        roster.shed();
        assert!(!was_told(&busy) && !was_told(&late));
        tokio::time::advance(LET_BE).await;
        roster.shed();
        assert!(was_told(&late) && !was_told(&busy));
        drop(entries);
    }
}
