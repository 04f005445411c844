use std::time::Duration;

use tokio::time::Instant;

use super::flow::{ConnectionFlow, ConnectionState};
use crate::shutdown::Shutdown;

/// The most bytes between a response that is asked to end and the socket: an encoded chunk, one that hyper
/// holds, and hyper's buffer, each at most a quarter of a megabyte. The end record is sent after them.
const BACKLOG: f64 = 768.0 * 1024.0;

/// How often a connection is checked during a drain.
const LOOK: Duration = Duration::from_millis(250);

/// How many checks in a row must find the client slow. A response that waits for upstream also comes in bursts.
const LOOKS: u32 = 4;

/// Returns when a client, at its current speed, needs the rest of the drain to receive the bytes that are
/// already on their way. It could not receive more in any case, and if its response ends now, the end record
/// still arrives.
///
/// Never returns in the first half of the drain, because the client may speed up in the second half. Never
/// returns if the drain has no end.
pub(super) async fn until_drain_grace(flow: &ConnectionFlow, shutdown: &Shutdown) {
    shutdown.drain_begun().await;
    let (began, before) = (Instant::now(), flow.progress().written);
    let Some(ends_at) = shutdown.ends_at() else { return std::future::pending().await };
    let mut slow_looks = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        slow_looks = if flow.state() == ConnectionState::Giving { slow_looks + 1 } else { 0 };
        let (passed, left) = (began.elapsed(), ends_at.saturating_duration_since(Instant::now()));
        let taken = flow.progress().written - before;
        if slow_looks >= LOOKS && passed >= left && left <= time_for_backlog(taken, passed) {
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

    /// How far into a drain the stream of a client that reads this many bytes a second is ended; `None` if
    /// never.
    async fn ended_after(bytes_per_second: usize) -> Option<Duration> {
        let (flow, shutdown) = (flow(), Shutdown::default());
        flow.answer_begun();
        flow.wait_begun();
        let began = Instant::now();
        shutdown.drain_until(began + DRAIN);
        let taking = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                flow.wrote(bytes_per_second / 10);
            }
        };
        tokio::select! {
            () = until_drain_grace(&flow, &shutdown) => Some(began.elapsed()),
            () = taking => None,
            () = tokio::time::sleep(DRAIN - LOOK / 2) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_the_stream_of_a_slow_reader_while_its_backlog_can_still_arrive() {
        // 768 KiB take 7.7 s.
        let told = ended_after(100 << 10).await.unwrap();
        assert!((21..=23).contains(&told.as_secs()), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn never_ends_the_stream_of_a_fast_reader() {
        assert_eq!(ended_after(100 << 20).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_a_client_that_reads_nothing_half_of_the_drain() {
        assert_eq!(ended_after(0).await.unwrap().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn never_ends_a_response_that_waits_for_upstream() {
        let (flow, shutdown) = (flow(), Shutdown::default());
        flow.answer_begun();
        shutdown.drain_until(Instant::now() + DRAIN);
        let told = tokio::time::timeout(DRAIN, until_drain_grace(&flow, &shutdown)).await;
        assert!(told.is_err());
    }
}
