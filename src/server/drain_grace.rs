use std::time::Duration;

use tokio::time::Instant;

use super::flow::{ConnectionFlow, ConnectionState};
use crate::shutdown::Shutdown;

/// The most bytes that are already on their way when a response is asked to end, and that precede its end record: an encoded
/// chunk, a chunk that hyper holds, and hyper's buffer, each at most 256 KiB.
const BACKLOG: f64 = 768.0 * 1024.0;

/// How often a connection is checked during a drain.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How many checks in a row must find the client slow. One is not enough, because responses come in bursts.
const SLOW_CHECKS: u32 = 4;

/// Returns when a client, at its current speed, needs the rest of the drain to receive the bytes that are already on their
/// way. If its response ends now, the end record still arrives; later it would not.
///
/// Never returns in the first half of the drain, because the client may speed up in the second half. Never returns if the
/// drain has no end.
pub(super) async fn until_drain_grace(flow: &ConnectionFlow, shutdown: &Shutdown) {
    shutdown.drain_begun().await;
    let (began, before) = (Instant::now(), flow.progress().written);
    let Some(ends_at) = shutdown.ends_at() else { return std::future::pending().await };
    let mut slow_checks = 0;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        slow_checks = if flow.state() == ConnectionState::Sending { slow_checks + 1 } else { 0 };
        let (passed, left) = (began.elapsed(), ends_at.saturating_duration_since(Instant::now()));
        let taken = flow.progress().written - before;
        if slow_checks >= SLOW_CHECKS && passed >= left && left <= time_for_backlog(taken, passed) {
            return;
        }
    }
}

/// How long a client needs for the backlog, given that it read `taken` bytes in `passed`.
fn time_for_backlog(taken: u64, passed: Duration) -> Duration {
    let speed = taken as f64 / passed.as_secs_f64();
    Duration::try_from_secs_f64(BACKLOG / speed).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::heads::Heads;

    fn flow() -> ConnectionFlow {
        ConnectionFlow::new(Arc::new(Heads::new(usize::MAX)))
    }

    const DRAIN: Duration = Duration::from_secs(30);

    /// How far into a drain the stream of a client that reads this many bytes a second ends; `None` if never.
    async fn ended_after(bytes_per_second: usize) -> Option<Duration> {
        let (flow, shutdown) = (flow(), Shutdown::default());
        flow.response_began();
        flow.wait_begun();
        let began = Instant::now();
        shutdown.drain_until(began + DRAIN);
        let reading = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                flow.wrote(bytes_per_second / 10);
            }
        };
        tokio::select! {
            () = until_drain_grace(&flow, &shutdown) => Some(began.elapsed()),
            () = reading => None,
            () = tokio::time::sleep(DRAIN - CHECK_INTERVAL / 2) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_the_stream_of_a_slow_reader_while_its_backlog_can_still_arrive() {
        // 768 KiB take 7.7 s.
        let after = ended_after(100 << 10).await.unwrap();
        assert!((21..=23).contains(&after.as_secs()), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn never_ends_the_stream_of_a_fast_reader() {
        assert_eq!(ended_after(100 << 20).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_the_stream_of_a_client_that_reads_nothing_after_half_of_the_drain() {
        assert_eq!(ended_after(0).await.unwrap().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn never_ends_a_response_that_waits_for_upstream() {
        let (flow, shutdown) = (flow(), Shutdown::default());
        flow.response_began();
        shutdown.drain_until(Instant::now() + DRAIN);
        assert!(tokio::time::timeout(DRAIN, until_drain_grace(&flow, &shutdown)).await.is_err());
    }
}
