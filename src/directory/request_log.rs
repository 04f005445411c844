//! Shares the times of upstream requests with the next process, and with processes that run at the same time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::file_thread::FileThread;
use super::kept_files::KeptFiles;
use super::sent_ring::SentRing;
use crate::clock::SteadyClock;
use crate::sealed::TierCounters;
use crate::tier::{RequestTimes, SentRequest};

/// The name of the file. All versions of fanfold and all secrets share it.
pub(super) const FILE: &str = "requests";

/// How long a request waits until its time is written, and the start until the file is read.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long times are of use: twice the longest period of a rate.
const MATTERS: Duration = Duration::from_secs(120);

/// How often the file is read while another process writes it, and how often failed writes are retried.
const EVERY: Duration = Duration::from_secs(1);

/// The most queued jobs of the thread.
const QUEUE: usize = 64;

/// The most times that wait to be written: as many as the file holds, see [`SentRing`].
const MOST_UNWRITTEN: usize = 16_384;

/// The times of requests in a directory.
#[derive(Debug)]
pub(super) struct RequestFile {
    shared: Arc<SentTimes>,
    thread: FileThread,
}

#[derive(Debug)]
struct SentTimes {
    files: Arc<KeptFiles>,
    counters: Arc<TierCounters>,
    clock: SteadyClock,
    /// Locked only by the thread.
    ring: Mutex<OpenRing>,
    /// Requests of this process that are not in the file yet, oldest first.
    unwritten: Mutex<VecDeque<SentRequest>>,
    /// Requests of other processes that were not returned yet.
    seen: Mutex<Vec<SentRequest>>,
    /// Whether the last write took too long and is not finished yet.
    is_stalled: AtomicBool,
}

#[derive(Debug)]
struct OpenRing {
    ring: SentRing,
    /// Whether this process writes to the ring, and has read its previous content.
    is_ours: bool,
}

impl RequestFile {
    /// Opens the file of a directory and waits up to [`PATIENCE`] for its content.
    ///
    /// # Errors
    /// The system can't create a thread.
    pub(super) fn open(
        files: Arc<KeptFiles>,
        counters: Arc<TierCounters>,
        clock: SteadyClock,
    ) -> io::Result<Self> {
        let ring = SentRing::new(&files.root().join(FILE));
        let shared = Arc::new(SentTimes {
            files,
            counters,
            clock,
            ring: Mutex::new(OpenRing { ring, is_ours: false }),
            unwritten: Mutex::default(),
            seen: Mutex::default(),
            is_stalled: AtomicBool::new(false),
        });
        let (say, said) = sync_channel(1);
        let thread = {
            let shared = Arc::clone(&shared);
            FileThread::start("tier-requests", QUEUE, move || {
                shared.catch_up();
                let _only_the_first_is_waited_for = say.try_send(());
                EVERY
            })?
        };
        if said.recv_timeout(PATIENCE).is_err() {
            TierCounters::add(&shared.counters.late_times);
        }
        Ok(Self { shared, thread })
    }

    async fn write(&self, request: SentRequest) {
        self.shared.add(request);
        if self.shared.is_stalled.load(Ordering::Relaxed) {
            return TierCounters::add(&self.shared.counters.late_times);
        }
        let shared = Arc::clone(&self.shared);
        let written = timeout(PATIENCE, self.thread.run(move || shared.flush())).await;
        if !matches!(written, Ok(Ok(()))) {
            self.shared.is_stalled.store(true, Ordering::Relaxed);
            TierCounters::add(&self.shared.counters.late_times);
        }
    }
}

impl RequestTimes for RequestFile {
    fn sent_by_others(&self) -> Vec<SentRequest> {
        std::mem::take(&mut *self.shared.seen.lock())
    }

    fn note(&self, request: SentRequest) -> BoxFuture<'_, ()> {
        self.write(request).boxed()
    }
}

impl SentTimes {
    fn add(&self, request: SentRequest) {
        let mut unwritten = self.unwritten.lock();
        if unwritten.len() == MOST_UNWRITTEN {
            unwritten.pop_front();
        }
        unwritten.push_back(request);
    }

    /// Reads what other processes wrote, unless this process is the writer, and writes what is not written yet.
    fn catch_up(&self) {
        if !self.files.writes() || !self.ring.lock().is_ours {
            self.read(&mut self.ring.lock());
        }
        self.flush();
        let now = self.clock.now();
        self.seen.lock().retain(|sent| now.since(sent.at) < MATTERS);
        self.unwritten.lock().retain(|sent| now.since(sent.at) < MATTERS);
    }

    /// Reads what other processes wrote. If this process is the writer, the ring is its own from then on.
    fn read(&self, open: &mut OpenRing) {
        let (now, writes) = (self.clock.now(), self.files.writes());
        open.ring.close();
        let Ok(news) = open.ring.read() else {
            // Earlier requests are unknown.
            return TierCounters::add(&self.counters.late_times);
        };
        let news = news.into_iter().map(|sent| SentRequest { at: sent.at.min(now), ..sent });
        self.seen.lock().extend(news.filter(|sent| now.since(sent.at) < MATTERS));
        open.is_ours = writes && open.ring.bring_back(now).is_ok();
    }

    /// Writes what is not written yet, if this process is the writer.
    fn flush(&self) {
        let mut open = self.ring.lock();
        if self.files.writes() {
            if !open.is_ours {
                self.read(&mut open);
            }
            let waiting: Vec<_> = self.unwritten.lock().iter().copied().collect();
            if open.is_ours && open.ring.write(&waiting).is_ok() {
                self.unwritten.lock().drain(..waiting.len());
            } else {
                TierCounters::add(&self.counters.late_times);
            }
        }
        self.is_stalled.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::stall;
    use super::*;
    use crate::domain::CredentialId;
    use crate::sealed::testing::{TempFolder, secret};

    fn open(folder: &TempFolder, writes: bool) -> (RequestFile, Arc<KeptFiles>, SteadyClock) {
        let counters = Arc::<TierCounters>::default();
        let files = Arc::new(KeptFiles::new(folder.path().to_owned(), secret(&[1]), Arc::clone(&counters)));
        files.set_writes(writes);
        let clock = SteadyClock::from_wall();
        (RequestFile::open(Arc::clone(&files), counters, clock.clone()).unwrap(), files, clock)
    }

    fn sent(clock: &SteadyClock) -> SentRequest {
        SentRequest { credential: CredentialId::new([1; 16]), at: clock.now() }
    }

    #[tokio::test]
    async fn the_next_process_reads_the_requests_of_the_last() {
        let folder = TempFolder::new();
        let (before, _, clock) = open(&folder, true);
        let requests = [sent(&clock), sent(&clock)];
        for request in requests {
            before.note(request).await;
        }
        assert_eq!(before.sent_by_others(), [], "only those of others are returned");
        let (after, ..) = open(&folder, true);
        assert_eq!(after.sent_by_others().len(), 2);
        assert_eq!(after.sent_by_others(), []);
    }

    #[tokio::test]
    async fn a_process_writes_its_requests_when_it_takes_over() {
        let folder = TempFolder::new();
        let (away, files, clock) = open(&folder, false);
        away.note(sent(&clock)).await;
        let (holder, ..) = open(&folder, true);
        assert_eq!(holder.sent_by_others(), [], "a process without the lock does not write");
        holder.note(sent(&clock)).await;
        drop(holder);
        files.set_writes(true);
        away.note(sent(&clock)).await;
        assert_eq!(away.sent_by_others().len(), 1);
        let (after, ..) = open(&folder, true);
        assert_eq!(after.sent_by_others().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_disk_delays_only_one_request() {
        let folder = TempFolder::new();
        let (times, _, clock) = open(&folder, true);
        let stalled = stall(&times.thread);
        let began = tokio::time::Instant::now();
        times.note(sent(&clock)).await;
        assert_eq!(began.elapsed(), PATIENCE);
        times.note(sent(&clock)).await;
        assert_eq!(began.elapsed(), PATIENCE);
        drop(stalled);
        times.thread.run(|| ()).await.unwrap();
        times.shared.flush();
        let (after, ..) = open(&folder, true);
        assert_eq!(after.sent_by_others().len(), 2);
    }
}
