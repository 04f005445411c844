use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared::{FoundPiece, Need, ReadAhead, ReadPhase, ReadState, Reading, WaiterState};
use super::sink::Ended;
use crate::domain::{EntrySlice, Timestamp};

/// A waiter's handle on a shared read. Dropping it ends the wait; dropping the last one cancels the read.
#[derive(Debug)]
pub(in crate::engine) struct ReadWaiter {
    pub(super) reading: Arc<Reading>,
    pub(super) id: u64,
}

impl Reading {
    /// Waits for the rows from an instant downward, or only for a number of them, until the returned handle
    /// is dropped.
    pub(in crate::engine) fn join(
        self: &Arc<Self>,
        top: Timestamp,
        read_ahead: ReadAhead,
        rows: Option<u64>,
    ) -> ReadWaiter {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let need = rows.map(|rows| Need { rows, at: top });
        self.lock().waiters.insert(id, WaiterState { at: top, read_ahead, need });
        self.changed.notify_waiters();
        ReadWaiter { reading: Arc::clone(self), id }
    }
}

impl ReadWaiter {
    pub(in crate::engine) fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// Marks this reading as the one that the answer is at.
    pub(in crate::engine) fn attend(&self) {
        let mut state = self.reading.lock();
        if let Some(waiting) = state.waiters.get_mut(&self.id)
            && waiting.read_ahead == ReadAhead::Later
        {
            waiting.read_ahead = ReadAhead::Next;
            drop(state);
            self.reading.changed.notify_waiters();
        }
    }

    /// Sets how many more rows are wanted; `None` for all.
    pub(in crate::engine) fn wants(&self, rows: Option<u64>) {
        let mut state = self.reading.lock();
        let ReadState { waiters, buffer, .. } = &mut *state;
        if let Some(waiting) = waiters.get_mut(&self.id) {
            // What it has taken may still be in the buffer, and does not count as rows to come.
            let taken =
                buffer.iter().find(|buffered| buffered.is_taken && buffered.span.contains(waiting.at));
            let below = || taken.map_or(waiting.at, |buffered| buffered.span.from().previous());
            let at = waiting.need.map_or_else(below, |need| need.at);
            waiting.need = rows.map(|rows| Need { rows, at });
            drop(state);
            self.reading.changed.notify_waiters();
        }
    }

    /// Returns the piece that contains an instant, once it is there. Instants must descend.
    pub(in crate::engine) async fn piece_at(&self, instant: Timestamp) -> Result<FoundPiece, Ended> {
        loop {
            let changed = self.reading.changed.notified();
            if let Some(found) = self.look(instant) {
                return found;
            }
            changed.await;
        }
    }

    fn look(&self, instant: Timestamp) -> Option<Result<FoundPiece, Ended>> {
        let mut state = self.reading.lock();
        if let Some(waiting) = state.waiters.get_mut(&self.id) {
            waiting.at = instant;
        }
        let position = state.buffer.partition_point(|buffered| buffered.span.from() > instant);
        if let Some(buffered) =
            state.buffer.get_mut(position).filter(|buffered| buffered.span.contains(instant))
        {
            buffered.is_taken = true;
            let (span, slices) = (buffered.span, buffered.slices.clone());
            if let Some(need) = state.waiters.get_mut(&self.id).and_then(|waiting| waiting.need.as_mut()) {
                // At once; otherwise another page would be requested before it is known how many of these
                // rows count.
                let rows = slices.iter().map(EntrySlice::len).sum::<usize>() as u64;
                *need = Need { rows: need.rows.saturating_sub(rows), at: span.from().previous() };
            }
            let found = FoundPiece::Piece { span, slices };
            state.clear_buffer(self.reading.fan_out);
            drop(state);
            self.reading.changed.notify_waiters();
            return Some(Ok(found));
        }
        if state.given_above.is_some_and(|given| instant > given) {
            return Some(Ok(FoundPiece::Gone));
        }
        match &state.phase {
            ReadPhase::Over(Ok(())) => Some(Ok(FoundPiece::Gone)),
            ReadPhase::Over(Err(ended)) => Some(Err(ended.clone())),
            ReadPhase::Idle | ReadPhase::Running => None,
        }
    }

    /// Returns when the reading is over.
    pub(in crate::engine) async fn over(&self) -> Result<(), Ended> {
        loop {
            let changed = self.reading.changed.notified();
            if let ReadPhase::Over(end) = &self.reading.lock().phase {
                return end.clone();
            }
            changed.await;
        }
    }
}

impl Drop for ReadWaiter {
    fn drop(&mut self) {
        let mut state = self.reading.lock();
        state.waiters.remove(&self.id);
        state.clear_buffer(self.reading.fan_out);
        drop(state);
        self.reading.changed.notify_waiters();
    }
}

#[cfg(test)]
#[path = "waiter_tests.rs"]
mod tests;
