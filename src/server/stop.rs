//! Stops the process, in order or at once.
//!
//! On the first signal, readiness fails and the listener stays open for a while, so that load balancers can notice. Then the
//! process stops accepting, lets running responses finish, and ends those that still run. A second signal ends the process
//! at any time.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::shutdown::Shutdown;

/// A signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The exit code of a process that this signal ended: 128 plus its number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// How long stopping may take.
#[derive(Clone, Copy, Debug)]
pub struct StopPlan {
    /// How long the listener stays open once readiness fails.
    pub delay: Duration,
    /// How long running responses may then take to finish.
    pub timeout: Duration,
    /// How long ended responses may take to reach their clients.
    pub grace: Duration,
}

/// How the process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything finished, or its time was up.
    InOrder,
    /// A second signal arrived.
    AtOnce(Signal),
}

/// The signals that this process receives.
///
/// # Errors
/// The system can't install a handler.
pub fn signals() -> io::Result<impl Stream<Item = Signal>> {
    let interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    Ok(stream::unfold((interrupt, terminate), |(mut interrupt, mut terminate)| async move {
        let signal = tokio::select! {
            signal = interrupt.recv() => signal.map(|()| Signal::Interrupt),
            signal = terminate.recv() => signal.map(|()| Signal::Terminate),
        };
        Some((signal?, (interrupt, terminate)))
    }))
}

/// Waits for a signal, then stops. Returns when the process may exit.
pub async fn on_signal(signals: impl Stream<Item = Signal>, shutdown: &Shutdown, plan: StopPlan) -> Stopped {
    let mut signals = pin!(signals);
    if let Some(signal) = signals.next().await {
        shutdown.leave();
        info!(target: "fanfold::process", ?signal, "Stopping: {signal:?}.");
    }
    tokio::select! {
        biased;
        Some(signal) = signals.next() => {
            let running = shutdown.running();
            warn!(target: "fanfold::process", ?signal, running, "Ending at once with {running} tasks running: a second signal arrived ({signal:?}).");
            Stopped::AtOnce(signal)
        }
        () = in_order(shutdown, plan) => Stopped::InOrder,
    }
}

async fn in_order(shutdown: &Shutdown, plan: StopPlan) {
    shutdown.leave();
    tokio::time::sleep(plan.delay).await;
    shutdown.drain_until(Instant::now() + plan.timeout);
    if tokio::time::timeout(plan.timeout, shutdown.finished()).await.is_err() {
        let running = shutdown.running();
        warn!(target: "fanfold::process", running, "The drain timeout is over: ending {running} tasks that still run.");
    }
    shutdown.end();
    if tokio::time::timeout(plan.grace, shutdown.finished()).await.is_err() {
        let running = shutdown.running();
        warn!(target: "fanfold::process", running, "Exiting although {running} tasks have not ended.");
    }
    info!(target: "fanfold::process", "Stopped.");
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: StopPlan = StopPlan {
        delay: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
        grace: Duration::from_secs(3),
    };

    fn one_signal() -> impl Stream<Item = Signal> {
        stream::iter([Signal::Terminate]).chain(stream::pending())
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_process_stops_after_the_delay() {
        let shutdown = Shutdown::default();
        let began = Instant::now();
        assert_eq!(on_signal(one_signal(), &shutdown, PLAN).await, Stopped::InOrder);
        assert_eq!(began.elapsed(), PLAN.delay);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_fails_before_the_drain_begins() {
        let shutdown = Shutdown::default();
        let mut stopping = pin!(on_signal(one_signal(), &shutdown, PLAN));
        assert!(futures_util::poll!(&mut stopping).is_pending());
        assert!(shutdown.is_leaving() && !shutdown.is_draining());
        stopping.await;
        assert!(shutdown.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_exceeds_the_drain_timeout_is_ended() {
        let shutdown = Shutdown::default();
        let began = Instant::now();
        let task = shutdown.clone();
        shutdown.spawn(async move { task.end_ordered().await });
        assert_eq!(on_signal(one_signal(), &shutdown, PLAN).await, Stopped::InOrder);
        assert_eq!(began.elapsed(), PLAN.delay + PLAN.timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn exits_although_a_task_does_not_end() {
        let shutdown = Shutdown::default();
        let began = Instant::now();
        shutdown.spawn(std::future::pending());
        assert_eq!(on_signal(one_signal(), &shutdown, PLAN).await, Stopped::InOrder);
        assert_eq!(began.elapsed(), PLAN.delay + PLAN.timeout + PLAN.grace);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_stops_at_once() {
        let shutdown = Shutdown::default();
        shutdown.spawn(std::future::pending());
        let began = Instant::now();
        let twice = stream::iter([Signal::Terminate, Signal::Interrupt]).chain(stream::pending());
        let stopped = on_signal(twice, &shutdown, PLAN).await;
        assert_eq!(stopped, Stopped::AtOnce(Signal::Interrupt));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(Signal::Interrupt.exit_code(), 130);
    }
}
