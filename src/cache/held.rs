//! Who holds which entries, and which entry is dropped next. Pure: times are arguments.
//!
//! # The order
//! 1. The caller that holds most loses first, and among its scopes the one that holds most. So the reads of one caller or one
//!    agent take room from others only until all hold the same amount.
//! 2. Scopes that have not been requested for a while weigh more: twice as much after an hour, three times after two. So a new
//!    walk gets the room of yesterday's, while a small history that is requested once a day stays.
//! 3. Within a scope, the oldest rows are dropped first, regardless of when they were used. A history larger than its room
//!    keeps its newest part when it is read repeatedly from end to end; with a least-recently-used order, it would keep
//!    nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::domain::{CallerId, Entry, Timestamp};
use crate::store::{EntryKey, ScopeKey, weighed};

/// The entries that are held, by key and by holder.
///
/// # Invariants
/// Every entry is in exactly one scope of exactly one caller. A scope without entries is not listed, nor a caller without
/// scopes. The sums of bytes are those of the entries.
#[derive(Debug, Default)]
pub(super) struct HeldEntries {
    entries: HashMap<EntryKey, HeldEntry>,
    callers: HashMap<CallerId, HeldByCaller>,
    bytes: u64,
}

#[derive(Debug)]
struct HeldEntry {
    entry: Arc<Entry>,
    weight: u64,
    caller: CallerId,
    place: Place,
    /// When its scope was last requested, in milliseconds.
    requested: Arc<AtomicU64>,
}

/// The place of an entry in its scope: by its newest row, then by its number.
type Place = (Timestamp, u128);

#[derive(Debug, Default)]
struct HeldByCaller {
    bytes: u64,
    scopes: HashMap<ScopeKey, HeldByScope>,
}

#[derive(Debug, Default)]
struct HeldByScope {
    bytes: u64,
    /// When it was last requested, in milliseconds.
    requested: Arc<AtomicU64>,
    places: BTreeSet<Place>,
}

impl HeldEntries {
    /// The number of bytes held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of entries held.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry, if it is held. Records that its scope is requested at this time.
    pub(super) fn get(&self, key: &EntryKey, now: Duration) -> Option<Arc<Entry>> {
        let held = self.entries.get(key)?;
        held.requested.store(millis(now), Relaxed);
        Some(Arc::clone(&held.entry))
    }

    /// Whether the entry is held.
    pub(super) fn has(&self, key: &EntryKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Holds an entry for a caller.
    pub(super) fn add(
        &mut self,
        key: EntryKey,
        caller: CallerId,
        entry: Arc<Entry>,
        weight: u64,
        now: Duration,
    ) {
        drop(self.remove(&key));
        let newest = entry.rows().get(0).map_or(Timestamp::MIN, |row| row.created_at);
        let place = (newest, key.number);
        let by_caller = self.callers.entry(caller).or_default();
        let by_scope = by_caller.scopes.entry(key.scope).or_default();
        by_scope.requested.store(millis(now), Relaxed);
        by_scope.places.insert(place);
        by_scope.bytes += weight;
        by_caller.bytes += weight;
        self.bytes += weight;
        let requested = Arc::clone(&by_scope.requested);
        self.entries.insert(key, HeldEntry { entry, weight, caller, place, requested });
    }

    /// Corrects the weight of an entry, if it is held.
    pub(super) fn reweigh(&mut self, key: &EntryKey, weigh: impl FnOnce(&Entry) -> u64) {
        let Some(held) = self.entries.get_mut(key) else { return };
        let weight = weigh(&held.entry);
        let Some(by_caller) = self.callers.get_mut(&held.caller) else { return };
        let Some(by_scope) = by_caller.scopes.get_mut(&key.scope) else { return };
        for bytes in [&mut self.bytes, &mut by_caller.bytes, &mut by_scope.bytes] {
            *bytes = *bytes - held.weight + weight;
        }
        held.weight = weight;
    }

    /// Drops an entry.
    pub(super) fn remove(&mut self, key: &EntryKey) -> Option<Arc<Entry>> {
        let HeldEntry { entry, weight, caller, place, .. } = self.entries.remove(key)?;
        self.bytes -= weight;
        if let Some(by_caller) = self.callers.get_mut(&caller) {
            by_caller.bytes -= weight;
            if let Some(by_scope) = by_caller.scopes.get_mut(&key.scope) {
                by_scope.bytes -= weight;
                by_scope.places.remove(&place);
                if by_scope.places.is_empty() {
                    by_caller.scopes.remove(&key.scope);
                }
            }
            if by_caller.scopes.is_empty() {
                self.callers.remove(&caller);
            }
        }
        Some(entry)
    }

    /// The entry to drop when room is needed.
    pub(super) fn next_to_evict(&self, now: Duration) -> Option<EntryKey> {
        let now = millis(now);
        let by_caller =
            self.callers.values().max_by_key(|by_caller| weighed(by_caller.bytes, by_caller.idle(now)))?;
        let (scope, by_scope) = by_caller
            .scopes
            .iter()
            .max_by_key(|(_, by_scope)| weighed(by_scope.bytes, by_scope.idle(now)))?;
        by_scope.places.first().map(|&(_, number)| EntryKey { scope: *scope, number })
    }
}

impl HeldByCaller {
    /// How long none of its scopes was requested.
    fn idle(&self, now: u64) -> Duration {
        self.scopes.values().map(|by_scope| by_scope.idle(now)).min().unwrap_or_default()
    }
}

impl HeldByScope {
    fn idle(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.requested.load(Relaxed)))
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CredentialId, Digest, FilterFacts, NewRow, Row};

    const CAPACITY: u64 = 1_000;
    const WEIGHT: u64 = 10;

    /// The entries that are held with a small capacity, and the current time.
    #[derive(Default)]
    struct HeldBench {
        held: HeldEntries,
        now: Duration,
        next: u128,
    }

    /// The holder and the scope of an agent's rows.
    #[derive(Clone, Copy)]
    struct CachedAgent {
        caller: u8,
        scope: u8,
    }

    impl HeldBench {
        fn key(agent: CachedAgent, number: u128) -> EntryKey {
            EntryKey { scope: [agent.scope; 16], number }
        }

        /// An entry of a row created at that second.
        fn put(&mut self, agent: CachedAgent, second: i64) -> EntryKey {
            let at = Timestamp::from_micros(second * 1_000_000);
            let row = Row {
                id: "a".into(),
                created_at: Some(at),
                updated_at: None,
                facts: FilterFacts::default(),
                status: None,
                bytes: "{}".into(),
            };
            let row =
                NewRow { row, created_at: at, read_at: at, is_doubted: false, digest: Digest::default() };
            self.next += 1;
            let key = Self::key(agent, self.next);
            let caller = CallerId::Key(CredentialId::new([agent.caller; 16]));
            self.held.add(key, caller, Arc::new(Entry::new(&[row])), WEIGHT, self.now);
            while self.held.bytes() > CAPACITY {
                let key = self.held.next_to_evict(self.now).unwrap();
                drop(self.held.remove(&key));
            }
            key
        }

        /// Requests a history of this many entries from end to end, newest first, and reads missing entries
        /// again. Returns how many were held.
        fn request(&mut self, agent: CachedAgent, known: &mut [Option<EntryKey>]) -> usize {
            let mut hits = 0;
            for (age, key) in known.iter_mut().enumerate() {
                match key.filter(|key| self.held.get(key, self.now).is_some()) {
                    Some(_) => hits += 1,
                    None => *key = Some(self.put(agent, -(age as i64))),
                }
            }
            hits
        }

        fn held_by(&self, agent: CachedAgent) -> usize {
            self.held.entries.keys().filter(|key| key.scope == [agent.scope; 16]).count()
        }

        fn check(&self) {
            let sum: u64 = self.held.entries.values().map(|held| held.weight).sum();
            let by_scopes =
                |by_caller: &HeldByCaller| by_caller.scopes.values().map(|s| s.bytes).sum::<u64>();
            assert_eq!(sum, self.held.bytes);
            assert_eq!(sum, self.held.callers.values().map(by_scopes).sum::<u64>());
            assert_eq!(sum, self.held.callers.values().map(|by_caller| by_caller.bytes).sum::<u64>());
            let places: usize =
                self.held.callers.values().flat_map(|c| c.scopes.values()).map(|s| s.places.len()).sum();
            assert_eq!(places, self.held.len());
        }
    }

    const FIRST: CachedAgent = CachedAgent { caller: 1, scope: 1 };
    const SECOND: CachedAgent = CachedAgent { caller: 1, scope: 2 };
    const OF_ANOTHER: CachedAgent = CachedAgent { caller: 2, scope: 3 };

    /// The share of entries that were held, of a history of this many times the capacity, from the second of
    /// ten requests on.
    fn hit_rate(entries: usize) -> f64 {
        let (mut bench, mut known) = (HeldBench::default(), vec![None; entries]);
        bench.request(FIRST, &mut known);
        let hits: usize = (0..9).map(|_| bench.request(FIRST, &mut known)).sum();
        bench.check();
        hits as f64 / (9 * entries) as f64
    }

    #[test]
    fn a_history_of_k_times_the_capacity_keeps_one_part_in_k() {
        for (entries, share) in [(100, 1.0), (110, 0.9), (150, 0.66), (300, 0.33)] {
            let rate = hit_rate(entries);
            assert!(rate >= share, "{entries} entries: {rate}");
        }
    }

    #[test]
    fn the_newest_part_is_kept() {
        let (mut bench, mut known) = (HeldBench::default(), vec![None; 300]);
        for _ in 0..3 {
            bench.request(FIRST, &mut known);
        }
        let kept: Vec<bool> = known.iter().map(|key| bench.held.has(&key.unwrap())).collect();
        assert!(kept[..100].iter().all(|is_kept| *is_kept) && !kept[100..].iter().any(|is_kept| *is_kept));
    }

    #[test]
    fn agents_of_normal_size_keep_their_rows_despite_one_that_does_not_fit() {
        let mut bench = HeldBench::default();
        let (mut large, mut small) =
            (vec![None; 300], [(2, vec![None; 10]), (3, vec![None; 20]), (4, vec![None; 20])]);
        for round in 0..10 {
            for (scope, known) in &mut small {
                let hits = bench.request(CachedAgent { caller: 1, scope: *scope }, known);
                assert!(round == 0 || hits == known.len());
            }
            bench.request(FIRST, &mut large);
        }
        assert_eq!(bench.held_by(FIRST), 50);
        bench.check();
    }

    #[test]
    fn many_made_up_requests_of_one_caller_take_nothing_from_others() {
        let mut bench = HeldBench::default();
        let mut known = vec![None; 30];
        bench.request(OF_ANOTHER, &mut known);
        for made_up in 10..250 {
            bench.request(CachedAgent { caller: 1, scope: made_up }, &mut [None; 5]);
        }
        assert_eq!(bench.request(OF_ANOTHER, &mut known), 30);
        bench.check();
    }

    #[test]
    fn a_new_walk_replaces_rows_that_were_last_requested_yesterday() {
        let mut bench = HeldBench::default();
        for agent in [FIRST, SECOND, OF_ANOTHER] {
            bench.request(agent, &mut vec![None; 30]);
        }
        bench.now += Duration::from_hours(24);
        let (new, mut known) = (CachedAgent { caller: 1, scope: 9 }, vec![None; 80]);
        bench.request(new, &mut known);
        assert!(bench.request(new, &mut known) > 70);
    }

    #[test]
    fn a_small_history_that_is_requested_once_a_day_stays() {
        let (mut bench, mut daily) = (HeldBench::default(), vec![None; 3]);
        bench.request(OF_ANOTHER, &mut daily);
        bench.now += Duration::from_hours(23);
        bench.request(FIRST, &mut vec![None; 500]);
        assert_eq!(bench.request(OF_ANOTHER, &mut daily), 3);
    }

    #[test]
    fn an_entry_that_is_weighed_again_counts_with_its_new_weight() {
        let mut bench = HeldBench::default();
        let key = bench.put(FIRST, 0);
        bench.held.reweigh(&key, |_| 500);
        assert_eq!(bench.held.bytes(), 500);
        bench.check();
        drop(bench.held.remove(&key));
        bench.held.reweigh(&key, |_| 500);
        bench.check();
        assert_eq!((bench.held.bytes(), bench.held.next_to_evict(bench.now)), (0, None));
    }
}
