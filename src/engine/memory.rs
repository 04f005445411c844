//! One limit for the memory of all responses that are completed before they are sent.
//!
//! Such a response holds its entries in memory until it is sent, including those that the cache has dropped
//! meanwhile. The memory that its entries occupy now counts, once per entry however many responses hold it,
//! and whether or not the cache holds it too, because the cache may drop it at any time. What a response
//! holds for itself alone, such as rows that were deflated for it, counts in full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::domain::{CallerId, Entry, EntrySlice};

/// The memory that responses in progress hold together. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct ResponseMemory(Arc<MemoryPool>);

#[derive(Debug)]
struct MemoryPool {
    most: u64,
    held: Arc<AtomicU64>,
    shares: Mutex<HashMap<CallerId, Weak<CallerMemory>>>,
}

/// The memory that the responses of one caller hold; an entry that two of them hold counts twice.
#[derive(Debug)]
struct CallerMemory {
    caller: CallerId,
    held: AtomicU64,
    memory: Arc<MemoryPool>,
}

/// Why a response may not hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The total limit in bytes is reached.
    AllTaken(u64),
    /// The caller already holds its share, this many bytes; the rest is for others.
    ShareTaken(u64),
    /// The response alone holds more than this many bytes.
    TooLarge(u64),
}

impl ResponseMemory {
    pub(super) fn new(most: u64) -> Self {
        Self(Arc::new(MemoryPool { most, held: Arc::default(), shares: Mutex::default() }))
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.0.held.load(Relaxed)
    }

    /// The holdings of a new response of a caller: nothing yet.
    pub(super) fn of(&self, caller: CallerId) -> HeldMemory {
        HeldMemory {
            memory: Some((self.clone(), caller)),
            share: None,
            entries: Vec::new(),
            all: 0,
            alone: 0,
        }
    }

    fn share(&self, caller: CallerId) -> Arc<CallerMemory> {
        let mut shares = self.0.shares.lock();
        if let Some(share) = shares.get(&caller).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(CallerMemory { caller, held: AtomicU64::new(0), memory: Arc::clone(&self.0) });
        shares.insert(caller, Arc::downgrade(&share));
        share
    }
}

impl Drop for CallerMemory {
    fn drop(&mut self) {
        let mut shares = self.memory.shares.lock();
        // Another entry may have taken its place since the last response dropped it.
        if shares.get(&self.caller).is_some_and(|share| share.strong_count() == 0) {
            shares.remove(&self.caller);
        }
    }
}

/// The holdings of one response. Dropping it releases the memory.
#[derive(Debug, Default)]
pub struct HeldMemory {
    memory: Option<(ResponseMemory, CallerId)>,
    share: Option<Arc<CallerMemory>>,
    /// Weak, because entries that have been sent need not stay in memory.
    entries: Vec<Weak<Entry>>,
    all: u64,
    /// The part that no other response holds.
    alone: u64,
}

impl HeldMemory {
    /// Also holds the entry of a slice.
    ///
    /// # Errors
    /// The limit is exceeded. Earlier holdings remain.
    pub fn hold(&mut self, slice: &EntrySlice) -> Result<(), MemoryLimit> {
        let Some((memory, _)) = &self.memory else { return Ok(()) };
        let bytes = slice.entry.hold(&memory.0.held);
        self.entries.push(Arc::downgrade(&slice.entry));
        self.count(bytes)
    }

    /// Holds this many bytes that belong to no entry.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn hold_alone(&mut self, bytes: u64) -> Result<(), MemoryLimit> {
        let Some((memory, _)) = &self.memory else { return Ok(()) };
        memory.0.held.fetch_add(bytes, Relaxed);
        self.alone += bytes;
        self.count(bytes)
    }

    /// Whether it holds half of all memory: more must not be taken ahead, because the response may still need
    /// memory for what it compares or encodes.
    pub(super) fn is_half(&self) -> bool {
        self.memory.as_ref().is_some_and(|(memory, _)| self.all >= memory.0.most / 2)
    }

    fn count(&mut self, bytes: u64) -> Result<(), MemoryLimit> {
        let Some((memory, caller)) = &self.memory else { return Ok(()) };
        let share = self.share.get_or_insert_with(|| memory.share(*caller));
        self.all += bytes;
        let of_caller = share.held.fetch_add(bytes, Relaxed) + bytes;
        let (most, held) = (memory.0.most, memory.held());
        if self.all > most {
            return Err(MemoryLimit::TooLarge(most));
        }
        if held > most {
            return Err(MemoryLimit::AllTaken(most));
        }
        let is_alone = held <= self.all;
        if of_caller > most / 2 && most - held < most / 4 && !is_alone {
            return Err(MemoryLimit::ShareTaken(most / 2));
        }
        Ok(())
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.entries.iter().filter_map(Weak::upgrade).for_each(|entry| entry.release());
        if let Some((memory, _)) = &self.memory {
            memory.0.held.fetch_sub(self.alone, Relaxed);
        }
        if let Some(share) = &self.share {
            share.held.fetch_sub(self.all, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, FilterFacts, NewRow, Row, Timestamp};

    const ROW: usize = 10_000;

    fn slice() -> EntrySlice {
        let at = Timestamp::from_micros(0);
        let bytes = vec![b'x'; ROW].into();
        let row = Row {
            id: "id".into(),
            created_at: Some(at),
            updated_at: None,
            status: None,
            facts: FilterFacts::default(),
            bytes,
        };
        let row = NewRow { row, created_at: at, read_at: at, is_doubted: false, digest: Digest::default() };
        EntrySlice::all(Arc::new(Entry::new(&[row])), 0..1).unwrap()
    }

    const fn caller(id: u8) -> CallerId {
        CallerId::Token([id; 16])
    }

    /// A limit of about this many entries.
    fn memory(entries: u64) -> ResponseMemory {
        ResponseMemory::new(entries * (ROW as u64 + 1_000))
    }

    /// Holds new entries until the limit is reached, and returns the holdings.
    fn fill(memory: &ResponseMemory, id: u8) -> (Vec<EntrySlice>, Vec<HeldMemory>, MemoryLimit) {
        let (mut slices, mut responses) = (Vec::new(), Vec::new());
        loop {
            let (slice, mut response) = (slice(), memory.of(caller(id)));
            let held = response.hold(&slice);
            if let Err(limit) = held {
                return (slices, responses, limit);
            }
            slices.push(slice);
            responses.push(response);
        }
    }

    #[test]
    fn an_entry_counts_once_however_many_responses_hold_it() {
        let (memory, slice) = (memory(4), slice());
        let mut responses: Vec<_> = (0..100).map(|id| memory.of(caller(id))).collect();
        responses.iter_mut().for_each(|response| response.hold(&slice).unwrap());
        let one = memory.held();
        assert!(one >= ROW as u64 && one < 2 * ROW as u64, "{one}");
        responses.truncate(1);
        assert_eq!(memory.held(), one);
        drop(responses);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_dropped_entry_is_no_longer_held() {
        let (memory, slice) = (memory(4), slice());
        let mut response = memory.of(caller(1));
        response.hold(&slice).unwrap();
        drop(slice);
        assert_eq!(memory.held(), 0);
        drop(response);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn one_caller_leaves_a_quarter_to_others_and_the_limit_holds_for_all() {
        let memory = memory(40);
        let (slices, one, limit) = fill(&memory, 1);
        assert!((28..=31).contains(&one.len()), "{}", one.len());
        assert!(matches!(limit, MemoryLimit::ShareTaken(_)));
        let (others, other, limit) = fill(&memory, 2);
        assert!((9..=13).contains(&other.len()), "{}", other.len());
        assert!(matches!(limit, MemoryLimit::AllTaken(_)));
        assert!(memory.held() <= 40 * (ROW as u64 + 1_000));
        drop((slices, others, one, other));
        assert_eq!(memory.held(), 0);
        assert!(memory.0.shares.lock().is_empty());
    }

    #[test]
    fn a_single_response_may_hold_all_of_the_memory() {
        let memory = memory(10);
        let mut response = memory.of(caller(1));
        let slices: Vec<_> = (0..20).map(|_| slice()).collect();
        let limits: Vec<_> =
            slices.iter().map_while(|slice| response.hold(slice).err().map_or(Some(()), |_| None)).collect();
        assert!((9..=10).contains(&limits.len()), "{}", limits.len());
        assert!(matches!(response.hold(&slice()), Err(MemoryLimit::TooLarge(_))));
    }

    #[test]
    fn bytes_outside_of_entries_count_for_each_response() {
        let memory = ResponseMemory::new(1_000);
        let mut responses: Vec<_> = (0..9).map(|id| memory.of(caller(id))).collect();
        responses.iter_mut().for_each(|response| response.hold_alone(100).unwrap());
        assert_eq!(memory.held(), 900);
        assert_eq!(memory.of(caller(9)).hold_alone(101), Err(MemoryLimit::AllTaken(1_000)));
        drop(responses);
        assert_eq!(memory.held(), 0);
    }
}
