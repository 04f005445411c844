//! A thread for file operations, so that a slow disk blocks no other thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// The longest wait for a job while the thread finishes none. A slower disk is slower than upstream.
const PATIENCE: Duration = Duration::from_millis(250);

/// The longest wait for a job while the thread finishes others.
const LONGEST: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that runs jobs one after another. Its queue is bounded. Dropping this ends it after the queued jobs.
#[derive(Debug)]
pub(super) struct FileThread {
    jobs: SyncSender<Job>,
    finished: Arc<AtomicU64>,
}

/// The job has no result: the queue is full, or the disk takes too long. The job may still run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl FileThread {
    /// Starts a thread. It calls `idle` at the start, and again once the time that the last call returned is over and the
    /// queue is empty.
    ///
    /// # Errors
    /// The system can't create a thread.
    pub(super) fn start(
        name: &str,
        queue: usize,
        idle: impl FnMut() -> Duration + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, to_do) = sync_channel(queue);
        let finished = Arc::<AtomicU64>::default();
        let count = Arc::clone(&finished);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&to_do, &count, idle))?;
        Ok(Self { jobs, finished })
    }

    /// Runs a job and waits for its result without a limit. A job is skipped if its caller has left.
    ///
    /// # Errors
    /// [`TooSlow`]: the queue is full.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooSlow> {
        self.submit(job)?.await.map_err(|_| TooSlow)
    }

    /// Runs a job and waits for its result, at most [`LONGEST`], or [`PATIENCE`] if the thread makes no progress.
    ///
    /// # Errors
    /// [`TooSlow`]
    pub(super) async fn run_soon<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooSlow> {
        let mut answer = self.submit(job)?;
        let began = Instant::now();
        loop {
            let finished = self.finished.load(Ordering::Relaxed);
            match timeout(PATIENCE, &mut answer).await {
                Ok(answered) => return answered.map_err(|_| TooSlow),
                Err(_) if self.finished.load(Ordering::Relaxed) == finished => return Err(TooSlow),
                Err(_) if began.elapsed() >= LONGEST => return Err(TooSlow),
                Err(_) => {}
            }
        }
    }

    /// Queues a job that nobody waits for. Drops it if the queue is full.
    pub(super) fn enqueue(&self, job: impl FnOnce() + Send + 'static) {
        let _only_housekeeping = self.jobs.try_send(Box::new(job));
    }

    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, TooSlow> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move || {
            if !reply.is_closed() {
                let _caller_may_have_left = reply.send(job());
            }
        });
        self.jobs.try_send(job).map_err(|_| TooSlow)?;
        Ok(answer)
    }
}

fn work(jobs: &Receiver<Job>, finished: &AtomicU64, mut idle: impl FnMut() -> Duration) {
    let mut due = std::time::Instant::now();
    loop {
        let wait = due.saturating_duration_since(std::time::Instant::now());
        match jobs.recv_timeout(wait) {
            Ok(job) => {
                job();
                finished.fetch_add(1, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Timeout) => {
                due = std::time::Instant::now() + idle();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::testing::stall;
    use super::*;

    fn thread(queue: usize) -> FileThread {
        FileThread::start("test", queue, || Duration::from_secs(3600)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_a_stalled_thread() {
        let thread = thread(4);
        let stalled = stall(&thread);
        let began = Instant::now();
        assert_eq!(thread.run_soon(|| ()).await, Err(TooSlow));
        assert_eq!(began.elapsed(), PATIENCE);
        drop(stalled);
        assert_eq!(thread.run(|| 7).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_job_is_skipped() {
        let thread = thread(4);
        let stalled = stall(&thread);
        let (say, said) = channel();
        assert_eq!(thread.run_soon(move || say.send(()).unwrap()).await, Err(TooSlow));
        drop(stalled);
        thread.run(|| ()).await.unwrap();
        assert!(said.try_recv().is_err());
    }

    #[tokio::test]
    async fn refuses_jobs_while_the_queue_is_full() {
        let thread = thread(1);
        let stalled = stall(&thread);
        let waits = thread.submit(|| ()).unwrap();
        assert!(thread.submit(|| ()).is_err());
        drop(stalled);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn idle_work_runs_between_jobs_until_the_thread_is_dropped() {
        let (say, said) = channel();
        let thread = FileThread::start("test", 1, move || {
            let _ = say.send(());
            Duration::from_millis(1)
        });
        let thread = thread.unwrap();
        for _ in 0..3 {
            said.recv().unwrap();
            thread.run(|| ()).await.unwrap();
        }
        drop(thread);
        while said.recv().is_ok() {}
    }
}
