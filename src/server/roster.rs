use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::flow::ConnectionFlow;

/// How long a connection must be idle before it is closed to make room. Its next request may be on its way.
const MIN_IDLE: Duration = Duration::from_secs(1);

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

    /// Asks one idle connection to close: preferably one that never sent a request, otherwise the one idle for longest.
    pub(super) fn shed(&self) {
        let connections = self.0.lock();
        let before = Instant::now().checked_sub(MIN_IDLE);
        let idle = connections.flows.values().filter_map(|flow| {
            let since = flow.idle_since().filter(|since| before.is_some_and(|before| *since <= before))?;
            Some((flow.progress().requests > 0, since, flow))
        });
        if let Some((_, _, flow)) = idle.min_by_key(|(has_sent, since, _)| (*has_sent, *since)) {
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

    fn is_shed(flow: &ConnectionFlow) -> bool {
        futures_util::FutureExt::now_or_never(flow.until_shed()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn closes_connections_that_never_sent_a_request_first_then_the_longest_idle() {
        let roster = Arc::new(Roster::default());
        let (asked, silent, busy) = (flow(), flow(), flow());
        asked.response_began();
        asked.response_ended();
        busy.response_began();
        let entries = [&asked, &silent, &busy].map(|flow| roster.enter(Arc::clone(flow)));
        tokio::time::advance(Duration::from_secs(2)).await;
        let late = flow();
        late.response_began();
        late.response_ended();
        let _entry = roster.enter(Arc::clone(&late));

        roster.shed();
        assert!(is_shed(&silent) && !is_shed(&asked));
        roster.shed();
        assert!(is_shed(&asked));
        roster.shed();
        assert!(!is_shed(&busy) && !is_shed(&late));
        tokio::time::advance(MIN_IDLE).await;
        roster.shed();
        assert!(is_shed(&late) && !is_shed(&busy));
        drop(entries);
    }
}
