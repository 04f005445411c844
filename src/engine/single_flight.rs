//! Shared work: done once per key, delivered to all listeners, canceled when the last of them leaves.
//!
//! The work is a task of its own, so a caller that leaves doesn't end it for others. A caller that joins
//! extends the work's deadline to its own. Dropping the last listener drops the work, whatever it waits for,
//! and even if it was never polled. Work that ends without an outcome (canceled, panicked, or because the
//! process stops) is removed from the list, and then notifies its listeners.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::future::{FutureExt, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::shutdown::Shutdown;
use crate::source::Deadline;

/// Waits for shared work, and keeps it alive. Clones wait for the same work.
pub(super) type Listener<T> = Shared<oneshot::Receiver<T>>;

/// Runs work until it is done, its last listener leaves, or the process stops.
pub(super) fn spawn_shared<T: Clone + Send + Sync + 'static>(
    shutdown: &Shutdown,
    work: impl Future<Output = T> + Send + 'static,
) -> Listener<T> {
    let (mut outcome, listener) = oneshot::channel();
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let done = tokio::select! {
            done = work => done,
            () = outcome.closed() => return,
            () = stop.end_ordered() => return,
        };
        // Fails if the last listener has just left.
        let _ = outcome.send(done);
    });
    listener.shared()
}

/// The work in progress, by key. Clones share one list.
pub(super) struct SingleFlight<K, T: Clone> {
    shutdown: Shutdown,
    list: Arc<Mutex<List<K, T>>>,
}

struct List<K, T: Clone> {
    under_way: HashMap<K, Flight<T>>,
    next: u64,
}

struct Flight<T: Clone> {
    /// Distinguishes it from earlier and later work with the same key.
    generation: u64,
    listener: WeakShared<oneshot::Receiver<T>>,
    deadline: Option<Deadline>,
}

impl<K, T> SingleFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, list: Arc::new(Mutex::new(List { under_way: HashMap::new(), next: 0 })) }
    }

    /// Joins the work with this key, or starts it.
    ///
    /// `deadline` is the caller's. The deadline of work in progress is extended to it; `begin` gets a new
    /// one, which later callers extend.
    ///
    /// `land` runs when the work is done, before any listener gets the outcome, and only if the work is still
    /// on the list: a late outcome does not restore what [`forget`](Self::forget) dropped.
    pub(super) fn join<W>(
        &self,
        key: K,
        deadline: Option<&Deadline>,
        begin: impl FnOnce(Option<Deadline>) -> W,
        land: impl FnOnce(&T) + Send + 'static,
    ) -> Listener<T>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut list = self.list.lock();
        if let Some(flight) = list.under_way.get(&key)
            && let Some(listener) = flight.listener.upgrade()
        {
            if let (Some(theirs), Some(deadline)) = (&flight.deadline, deadline) {
                theirs.extend_to(deadline.instant());
            }
            return listener;
        }
        let generation = list.next;
        list.next += 1;
        let place = FlightPlace { key: key.clone(), generation, list: Arc::clone(&self.list) };
        let deadline = deadline.map(|deadline| Deadline::at(deadline.instant()));
        let work = begin(deadline.clone());
        let listener = spawn_shared(&self.shutdown, async move {
            let place = place;
            let done = work.await;
            place.land(&done, land);
            done
        });
        // Only a listener that already has the outcome can't be downgraded.
        if let Some(weak) = listener.downgrade() {
            list.under_way.insert(key, Flight { generation, listener: weak, deadline });
        }
        listener
    }

    /// Removes work from the list. Its listeners still get the outcome, but it does not land.
    pub(super) fn forget(&self, is_meant: impl Fn(&K) -> bool) {
        self.list.lock().under_way.retain(|key, _| !is_meant(key));
    }

    /// The amount of work in progress.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.lock().under_way.len()
    }
}

/// The place of work on the list. Dropping it removes the work, unless other work has its key by now.
struct FlightPlace<K: Eq + Hash, T: Clone> {
    key: K,
    generation: u64,
    list: Arc<Mutex<List<K, T>>>,
}

impl<K: Eq + Hash, T: Clone> FlightPlace<K, T> {
    /// Removes the work from the list, and runs `land` only if the work was still on it.
    fn land(self, done: &T, land: impl FnOnce(&T)) {
        let mut list = self.list.lock();
        if self.leave(&mut list) {
            // Under the lock, so that `forget` either prevents this or happens after it.
            land(done);
        }
    }

    fn leave(&self, list: &mut List<K, T>) -> bool {
        let is_listed =
            list.under_way.get(&self.key).is_some_and(|flight| flight.generation == self.generation);
        if is_listed {
            list.under_way.remove(&self.key);
        }
        is_listed
    }
}

impl<K: Eq + Hash, T: Clone> Drop for FlightPlace<K, T> {
    fn drop(&mut self) {
        self.leave(&mut self.list.lock());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep, sleep_until, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Clone, Default)]
    struct FlightCounts {
        begun: Arc<AtomicUsize>,
        landed: Arc<AtomicUsize>,
    }

    struct FlightRig {
        flights: SingleFlight<&'static str, usize>,
        shutdown: Shutdown,
        counts: FlightCounts,
    }

    impl FlightRig {
        fn new() -> Self {
            let shutdown = Shutdown::default();
            Self { flights: SingleFlight::new(shutdown.clone()), shutdown, counts: FlightCounts::default() }
        }

        fn join<W>(&self, deadline: Option<&Deadline>, work: W) -> Listener<usize>
        where
            W: Future<Output = usize> + Send + 'static,
        {
            self.join_until(deadline, |_| work)
        }

        fn join_until<W>(
            &self,
            deadline: Option<&Deadline>,
            work: impl FnOnce(Option<Deadline>) -> W,
        ) -> Listener<usize>
        where
            W: Future<Output = usize> + Send + 'static,
        {
            let FlightCounts { begun, landed } = self.counts.clone();
            let begin = move |deadline| {
                begun.fetch_add(1, Ordering::Relaxed);
                work(deadline)
            };
            self.flights.join("key", deadline, begin, move |_| {
                landed.fetch_add(1, Ordering::Relaxed);
            })
        }

        fn begun(&self) -> usize {
            self.counts.begun.load(Ordering::Relaxed)
        }

        fn landed(&self) -> usize {
            self.counts.landed.load(Ordering::Relaxed)
        }

        async fn is_over(&self) {
            timeout(SECOND, self.shutdown_when_idle()).await.expect("no task is left");
            assert_eq!(self.flights.len(), 0);
        }

        async fn shutdown_when_idle(&self) {
            self.shutdown.finished().await;
        }
    }

    async fn slow(seconds: u64) -> usize {
        sleep(SECOND * u32::try_from(seconds).unwrap()).await;
        7
    }

    #[tokio::test(start_paused = true)]
    async fn all_concurrent_callers_get_one_outcome() {
        let rig = FlightRig::new();
        let listeners: Vec<_> = (0..5).map(|_| rig.join(None, slow(3))).collect();
        for listener in listeners {
            assert_eq!(listener.await, Ok(7));
        }
        assert_eq!((rig.begun(), rig.landed()), (1, 1));
        assert_eq!(rig.join(None, slow(1)).await, Ok(7));
        assert_eq!(rig.begun(), 2);
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_caller_may_leave() {
        let rig = FlightRig::new();
        let (first, second) = (rig.join(None, slow(3)), rig.join(None, slow(3)));
        assert!(timeout(SECOND, first).await.is_err());
        assert_eq!(second.await, Ok(7));
        assert_eq!(rig.begun(), 1);
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_listener_that_leaves_cancels_the_work() {
        for is_polled in [false, true] {
            let rig = FlightRig::new();
            let listeners = [rig.join(None, slow(3_600)), rig.join(None, slow(3_600))];
            if is_polled {
                sleep(SECOND).await;
            }
            drop(listeners);
            rig.is_over().await;
            assert_eq!(rig.landed(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_right_after_the_last_one_left_starts_the_work_again() {
        let rig = FlightRig::new();
        drop(rig.join(None, slow(3)));
        assert_eq!(rig.join(None, slow(3)).await, Ok(7));
        assert_eq!((rig.begun(), rig.landed()), (2, 1));
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_callers_deadline_extends_that_of_the_work() {
        let rig = FlightRig::new();
        let began = Instant::now();
        let until = |deadline: Option<Deadline>| async move {
            let deadline = deadline.unwrap();
            while Instant::now() < deadline.instant() {
                sleep_until(deadline.instant()).await;
            }
            0
        };
        let first = rig.join_until(Some(&Deadline::at(began + SECOND)), until);
        let second = rig.join(Some(&Deadline::at(began + 9 * SECOND)), slow(1));
        assert_eq!((first.await, second.await), (Ok(0), Ok(0)));
        assert_eq!(began.elapsed(), 9 * SECOND);
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn forgotten_work_reaches_its_listeners_but_does_not_land() {
        let rig = FlightRig::new();
        let old = rig.join(None, slow(5));
        rig.flights.forget(|key| *key == "key");
        let new = rig.join(None, slow(1));
        assert_eq!(new.await, Ok(7));
        assert_eq!(old.await, Ok(7));
        assert_eq!((rig.begun(), rig.landed()), (2, 1));
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_when_the_process_must_end() {
        let rig = FlightRig::new();
        let listener = rig.join(None, slow(3_600));
        sleep(SECOND).await;
        rig.shutdown.end();
        assert!(listener.await.is_err());
        rig.is_over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_removed_and_notifies_its_listeners() {
        let rig = FlightRig::new();
        let lost = rig.join(None, async { panic!("scripted") });
        assert!(lost.await.is_err());
        assert_eq!(rig.join(None, slow(1)).await, Ok(7));
        rig.is_over().await;
    }
}
