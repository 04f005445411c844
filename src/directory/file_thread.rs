//! A thread for files: whatever a disk does, only this thread waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// The longest wait for a job while the thread finishes none: a disk that takes longer is slower than upstream.
const PATIENCE: Duration = Duration::from_millis(250);

/// The longest wait for a job while the thread finishes others.
const LONGEST: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after another, and ends when it is dropped. Its queue is bounded.
#[derive(Debug)]
pub(super) struct FileThread {
    jobs: SyncSender<Job>,
    finished: Arc<AtomicU64>,
}

/// There is no answer: the queue is full, or the disk takes too long. The job may be done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl FileThread {
    /// Starts a thread. It calls `idle` first and whenever it has no job, after as long as the last call returned; in any case
    /// that often.
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

    /// Does a job, and waits until it is done. A job whose caller has left is skipped.
    ///
    /// # Errors
    /// [`TooSlow`]: the queue is full.
    pub(super) async fn done<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooSlow> {
        self.ask(job)?.await.map_err(|_| TooSlow)
    }

    /// Does a job, and waits as long as the disk may take.
    ///
    /// # Errors
    /// [`TooSlow`]
    pub(super) async fn soon<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooSlow> {
        let mut answer = self.ask(job)?;
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

    /// Does a job that nobody waits for, unless the queue is full.
    pub(super) fn begin(&self, job: impl FnOnce() + Send + 'static) {
        let _only_housekeeping = self.jobs.try_send(Box::new(job));
    }

    fn ask<T: Send + 'static>(
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
    async fn a_stalled_job_is_not_waited_for() {
        let thread = thread(4);
        let stalled = stall(&thread);
        let began = Instant::now();
        assert_eq!(thread.soon(|| ()).await, Err(TooSlow));
        assert_eq!(began.elapsed(), PATIENCE);
        drop(stalled);
        assert_eq!(thread.done(|| 7).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_job_is_skipped() {
        let thread = thread(4);
        let stalled = stall(&thread);
        let (say, said) = channel();
        assert_eq!(thread.soon(move || say.send(()).unwrap()).await, Err(TooSlow));
        drop(stalled);
        thread.done(|| ()).await.unwrap();
        assert!(said.try_recv().is_err());
    }

    #[tokio::test]
    async fn jobs_beyond_the_queue_are_refused_at_once() {
        let thread = thread(1);
        let stalled = stall(&thread);
        let waits = thread.ask(|| ()).unwrap();
        assert!(thread.ask(|| ()).is_err());
        drop(stalled);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn idle_work_goes_on_between_jobs_and_ends_with_the_thread() {
        let (say, said) = channel();
        let thread = FileThread::start("test", 1, move || {
            let _ = say.send(());
            Duration::from_millis(1)
        });
        let thread = thread.unwrap();
        for _ in 0..3 {
            said.recv().unwrap();
            thread.done(|| ()).await.unwrap();
        }
        drop(thread);
        while said.recv().is_ok() {}
    }
}
