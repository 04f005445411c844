use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::{Caller, CallerId, PeerGroup};

/// Whether a caller is known: upstream accepted its key, or the gateway checked its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerStanding {
    Known,
    Unproven,
}

/// The places for responses in progress, counted by caller.
///
/// One caller may hold half of them, and more only while a quarter stays free. Unproven keys together may
/// hold a quarter, and up to half while half stays free. One network may hold three quarters of what unproven
/// keys hold. Therefore the caller that holds the most is refused first, and others always find places.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    held: Mutex<HeldPlaces>,
}

#[derive(Debug, Default)]
struct HeldPlaces {
    total: usize,
    by: HashMap<Holder, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Caller(CallerId),
    Unproven,
    Peer(PeerGroup),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All places are taken.
    AllTaken,
    /// The caller already holds its share; the rest is for others.
    ShareTaken,
}

/// A place. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct ResponsePlace {
    places: Arc<Places>,
    holders: [Option<Holder>; 2],
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// The number of places.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// The number of places taken.
    pub(crate) fn taken(&self) -> usize {
        self.held.lock().total
    }

    /// Takes a place.
    pub(crate) fn take(
        self: &Arc<Self>,
        caller: Caller,
        standing: CallerStanding,
    ) -> Result<ResponsePlace, NoPlace> {
        let mut held = self.held.lock();
        let free = self.most.saturating_sub(held.total);
        if free == 0 {
            return Err(NoPlace::AllTaken);
        }
        let of = |held: &HeldPlaces, holder| held.by.get(&holder).copied().unwrap_or(0);
        let holders = match standing {
            CallerStanding::Known => {
                let holder = Holder::Caller(caller.id);
                if of(&held, holder) >= self.most.div_ceil(2) && free <= self.most / 4 {
                    return Err(NoPlace::ShareTaken);
                }
                [Some(holder), None]
            }
            CallerStanding::Unproven => {
                let (all, peer) = (of(&held, Holder::Unproven), of(&held, Holder::Peer(caller.peer)));
                let most = if free > self.most / 2 { self.most / 2 } else { self.most / 4 }.max(1);
                if all >= most || peer >= (most * 3).div_ceil(4) {
                    return Err(NoPlace::ShareTaken);
                }
                [Some(Holder::Unproven), Some(Holder::Peer(caller.peer))]
            }
        };
        held.total += 1;
        holders.iter().flatten().for_each(|holder| *held.by.entry(*holder).or_default() += 1);
        Ok(ResponsePlace { places: Arc::clone(self), holders })
    }
}

impl Drop for ResponsePlace {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        held.total -= 1;
        for holder in self.holders.into_iter().flatten() {
            if let Some(count) = held.by.get_mut(&holder) {
                *count -= 1;
                if *count == 0 {
                    held.by.remove(&holder);
                }
            }
        }
    }
}

#[cfg(test)]
impl ResponsePlace {
    /// The only place of a test.
    pub(crate) fn alone() -> Self {
        let caller = Caller { id: CallerId::Token([0; 16]), peer: PeerGroup::Unknown };
        Arc::new(Places::new(1)).take(caller, CallerStanding::Known).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn caller(id: u8, peer: u64) -> Caller {
        Caller { id: CallerId::Token([id; 16]), peer: PeerGroup::V6(peer) }
    }

    fn fill(places: &Arc<Places>, caller: Caller, standing: CallerStanding) -> Vec<ResponsePlace> {
        std::iter::from_fn(|| places.take(caller, standing).ok()).collect()
    }

    #[test]
    fn one_caller_leaves_a_quarter_to_others() {
        let places = Arc::new(Places::new(1024));
        let one = fill(&places, caller(1, 1), CallerStanding::Known);
        assert_eq!(one.len(), 768);
        assert_eq!(places.take(caller(1, 1), CallerStanding::Known).unwrap_err(), NoPlace::ShareTaken);
        let other = fill(&places, caller(2, 1), CallerStanding::Known);
        assert_eq!(other.len(), 256);
        assert_eq!(places.take(caller(2, 1), CallerStanding::Known).unwrap_err(), NoPlace::AllTaken);
        drop(one);
        assert_eq!(fill(&places, caller(2, 1), CallerStanding::Known).len(), 512);
    }

    #[test]
    fn unproven_keys_leave_most_places_to_others_and_some_to_other_networks() {
        let places = Arc::new(Places::new(1024));
        let one = fill(&places, caller(1, 1), CallerStanding::Unproven);
        let other = fill(&places, caller(2, 2), CallerStanding::Unproven);
        assert_eq!((one.len(), other.len()), (384, 128));
        let known = fill(&places, caller(3, 1), CallerStanding::Known);
        assert_eq!(known.len(), 512);
        drop((one, other, known));
        assert_eq!((places.taken(), places.held.lock().by.len()), (0, 0));
    }

    #[test]
    fn anyone_may_take_a_single_place() {
        for standing in [CallerStanding::Known, CallerStanding::Unproven] {
            let places = Arc::new(Places::new(1));
            assert_eq!(fill(&places, caller(1, 1), standing).len(), 1);
        }
        assert_eq!(
            Arc::new(Places::new(0)).take(caller(1, 1), CallerStanding::Known).unwrap_err(),
            NoPlace::AllTaken
        );
    }
}
