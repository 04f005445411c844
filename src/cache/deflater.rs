//! Deflates new entries in the background, on a separate thread.
//!
//! # Flow
//! Entries arrive uncompressed, are served as they are, and are queued here. The thread deflates one after another, and the
//! store weighs each again. While none waits, the thread deflates entries that are still stored after [`SQUEEZED_AFTER`] once
//! more, with more effort. After each of those it rests three times as long as the work took, so that this never uses more
//! than a quarter of a core.
//!
//! # Why a thread
//! The work is pure computing, a millisecond at a time, and would delay tasks. Nothing is lost if it ends with the process, so
//! no drain has to wait for it. And a thread can have a low priority: on a busy core it uses only the time that responses and
//! reads leave. If too many bytes wait, rows are deflated before more are accepted.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::shared::SharedEntries;
use crate::domain::Entry;
use crate::store::EntryKey;

/// The age from which more effort is spent on an entry. Entries of the newest rows are replaced within seconds.
const SQUEEZED_AFTER: Duration = Duration::from_secs(30);

/// How many times as long as its work the thread rests between two entries that can wait.
const REST: u32 = 3;

/// The niceness of the thread (setpriority(2)). On a core that a thread of normal priority keeps busy, it gets a tenth of the
/// time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The queue of entries to be deflated.
#[derive(Debug)]
pub(super) struct Deflater {
    /// `None` if the system can't create a thread. Rows are then deflated as they arrive.
    queue: Option<Sender<WaitingEntry>>,
}

/// An entry to be deflated, unless it is dropped first.
type WaitingEntry = (EntryKey, Weak<Entry>);

impl Deflater {
    /// Starts the thread; it ends with the deflater.
    pub(super) fn start(shared: Arc<SharedEntries>) -> Self {
        let (queue, arriving) = channel();
        let work = Work { shared, arriving, idle: VecDeque::new() };
        let thread = thread::Builder::new().name("deflate".to_owned()).spawn(move || work.run());
        Self { queue: thread.is_ok().then_some(queue) }
    }

    /// Queues an entry to be deflated.
    pub(super) fn take(&self, key: EntryKey, entry: &Arc<Entry>) {
        let queued =
            self.queue.as_ref().is_some_and(|queue| queue.send((key, Arc::downgrade(entry))).is_ok());
        if !queued {
            // A failure leaves the rows as they are.
            let _ = entry.deflated();
        }
    }
}

struct Work {
    shared: Arc<SharedEntries>,
    arriving: Receiver<WaitingEntry>,
    /// Entries to be deflated once more, and from when; the earliest first.
    idle: VecDeque<(Instant, WaitingEntry)>,
}

impl Work {
    fn run(mut self) {
        // On Linux, this sets the priority of this thread alone. The work doesn't depend on it.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let mut rest = Duration::ZERO;
        loop {
            match self.next(rest) {
                Ok(Some(arrived)) => self.deflate(arrived),
                Ok(None) => rest = self.squeeze(),
                Err(Gone) => return,
            }
        }
    }

    /// The next entry to arrive; `None` when it is time to deflate an older one once more.
    fn next(&self, rest: Duration) -> Result<Option<WaitingEntry>, Gone> {
        let Some((due, _)) = self.idle.front() else {
            return self.arriving.recv().map(Some).map_err(|_| Gone);
        };
        let wait = due.saturating_duration_since(Instant::now()).max(rest);
        match self.arriving.recv_timeout(wait) {
            Ok(arrived) => Ok(Some(arrived)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    fn deflate(&mut self, (key, entry): WaitingEntry) {
        // An entry that can't be deflated stays as it is.
        if let Some(entry) = entry.upgrade()
            && entry.deflated().is_ok()
        {
            self.shared.reweigh(&key);
            self.idle.push_back((Instant::now() + SQUEEZED_AFTER, (key, Arc::downgrade(&entry))));
        }
    }

    /// Deflates an entry once more, and returns how long to rest after it.
    fn squeeze(&mut self) -> Duration {
        let Some((_, (key, entry))) = self.idle.pop_front() else { return Duration::ZERO };
        let begun = Instant::now();
        if let Some(entry) = entry.upgrade()
            && entry.squeeze().is_ok()
        {
            self.shared.reweigh(&key);
        }
        begun.elapsed() * REST
    }
}

/// The store was dropped.
struct Gone;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cache::MemoryStore;

    /// How nice a thread is, by its folder under /proc (proc(5): the 19th field, and the name is the 2nd).
    fn niceness(task: &Path) -> Option<i32> {
        let about = fs::read_to_string(task.join("stat")).ok()?;
        about.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
    }

    #[test]
    fn only_the_deflating_thread_has_a_low_priority() {
        let _store = MemoryStore::new(1 << 20);
        let is_deflating =
            |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "deflate\n");
        // Under `nice -n 10`, every thread of the tests has that niceness.
        let are_all_nice = niceness(Path::new("/proc/thread-self")) == Some(NICENESS);
        // The thread sets its own niceness, a moment after it starts.
        loop {
            let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
            let (deflating, others): (Vec<_>, Vec<_>) = tasks.partition(|task| is_deflating(task));
            let is_nice = |task: &std::path::PathBuf| niceness(task) == Some(NICENESS);
            if deflating.iter().any(is_nice) {
                // The name is read again, because another test's thread may have got it in the meantime.
                let is_other_nice = others.iter().any(|task| is_nice(task) && !is_deflating(task));
                assert!(are_all_nice || !is_other_nice);
                return;
            }
            thread::yield_now();
        }
    }
}
