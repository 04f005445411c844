use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared::{Appetite, Found, Phase, Reading, Waiting};
use super::sink::Ended;
use crate::domain::Timestamp;

/// That somebody waits for a reading. Dropping it ends the waiting, and with the last one the reading.
#[derive(Debug)]
pub(in crate::engine) struct Ticket {
    pub(super) reading: Arc<Reading>,
    pub(super) id: u64,
}

impl Reading {
    /// Waits for what it brings from an instant downwards; the ticket's drop ends that.
    pub(in crate::engine) fn join(self: &Arc<Self>, top: Timestamp, appetite: Appetite) -> Ticket {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.lock().waiters.insert(id, Waiting { at: top, appetite });
        self.changed.notify_waiters();
        Ticket { reading: Arc::clone(self), id }
    }
}

impl Ticket {
    pub(in crate::engine) fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// Says that the answer has come to this reading.
    pub(in crate::engine) fn attend(&self) {
        let mut state = self.reading.lock();
        if let Some(waiting) = state.waiters.get_mut(&self.id)
            && waiting.appetite == Appetite::Later
        {
            waiting.appetite = Appetite::Next;
            drop(state);
            self.reading.changed.notify_waiters();
        }
    }

    /// Returns the piece that holds an instant, once it is there. Instants must descend.
    pub(in crate::engine) async fn piece_at(&self, instant: Timestamp) -> Result<Found, Ended> {
        loop {
            let changed = self.reading.changed.notified();
            if let Some(found) = self.look(instant) {
                return found;
            }
            changed.await;
        }
    }

    fn look(&self, instant: Timestamp) -> Option<Result<Found, Ended>> {
        let mut state = self.reading.lock();
        if let Some(waiting) = state.waiters.get_mut(&self.id) {
            waiting.at = instant;
        }
        let position = state.shelf.partition_point(|laid| laid.span.from() > instant);
        if let Some(laid) = state.shelf.get_mut(position).filter(|laid| laid.span.contains(instant)) {
            laid.is_taken = true;
            let found = Found::Piece { span: laid.span, slices: laid.slices.clone() };
            state.clear_shelf(self.reading.fan_out);
            drop(state);
            self.reading.changed.notify_waiters();
            return Some(Ok(found));
        }
        if state.given_above.is_some_and(|given| instant > given) {
            return Some(Ok(Found::Gone));
        }
        match &state.phase {
            Phase::Over(Ok(())) => Some(Ok(Found::Gone)),
            Phase::Over(Err(ended)) => Some(Err(ended.clone())),
            Phase::Idle | Phase::Running => None,
        }
    }

    /// Returns when the reading is over.
    pub(in crate::engine) async fn over(&self) -> Result<(), Ended> {
        loop {
            let changed = self.reading.changed.notified();
            if let Phase::Over(end) = &self.reading.lock().phase {
                return end.clone();
            }
            changed.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.reading.lock();
        state.waiters.remove(&self.id);
        state.clear_shelf(self.reading.fan_out);
        drop(state);
        self.reading.changed.notify_waiters();
    }
}
