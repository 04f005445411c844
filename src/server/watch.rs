use std::time::Duration;

use tokio::time::Instant;

use super::ServerLimits;
use super::flow::{ConnectionFlow, ConnectionProgress, ConnectionState};
use crate::telemetry::CutReason;

/// Fewer bytes than this don't count as progress. A client that only answers pings reads less: h2 ping and settings frames
/// have 17 and 9 bytes.
const MIN_PROGRESS: u64 = 1024;

/// How often a connection is checked within its shortest timeout, so that it is cut off at most a quarter of that late.
const CHECKS: u32 = 4;

/// Returns when a connection has to be closed, and why.
pub(super) async fn until_over(flow: &ConnectionFlow, limits: &ServerLimits) -> CutReason {
    let shortest = limits.stall_timeout.min(limits.head_timeout).min(limits.idle_timeout);
    let pause = pause_within(shortest);
    let mut since = Instant::now();
    let mut at = (flow.state(), flow.progress());
    loop {
        tokio::time::sleep(pause).await;
        let now = (flow.state(), flow.progress());
        if now.0 != at.0 || has_moved(at.1, now.1) {
            since = Instant::now();
            at = now;
        } else if let Some(reason) = judge(now.0, since.elapsed(), limits) {
            return reason;
        }
    }
}

/// The pause between two checks.
pub(super) fn pause_within(timeout: Duration) -> Duration {
    (timeout / CHECKS).max(Duration::from_millis(1))
}

fn has_moved(before: ConnectionProgress, now: ConnectionProgress) -> bool {
    now.requests != before.requests || now.written - before.written >= MIN_PROGRESS
}

/// Why the connection must be closed, if its state has lasted too long.
fn judge(state: ConnectionState, lasted: Duration, limits: &ServerLimits) -> Option<CutReason> {
    let (limit, reason) = match state {
        ConnectionState::Sending => (limits.stall_timeout, CutReason::Stalled),
        ConnectionState::ReadingHead => (limits.head_timeout, CutReason::SlowHead),
        ConnectionState::Idle => (limits.idle_timeout, CutReason::Idle),
        // A response has its own deadlines.
        ConnectionState::Responding => return None,
    };
    (lasted >= limit).then_some(reason)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::flow::Protocol;
    use crate::server::heads::Heads;

    const LIMITS: ServerLimits = ServerLimits {
        head_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(75),
        stall_timeout: Duration::from_secs(60),
        flush_grace: Duration::from_secs(2),
        connections: 1,
        head_bytes: usize::MAX,
    };

    async fn cut_after(flow: &ConnectionFlow, length: Duration) -> Option<CutReason> {
        tokio::time::timeout(length, until_over(flow, &LIMITS)).await.ok()
    }

    fn flow() -> ConnectionFlow {
        ConnectionFlow::new(Arc::new(Heads::new(usize::MAX)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_idle() {
        let flow = flow();
        assert_eq!(cut_after(&flow, Duration::from_secs(74)).await, None);
        assert_eq!(cut_after(&flow, Duration::from_secs(80)).await, Some(CutReason::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_only_the_head_timeout_for_the_rest_of_a_head() {
        let flow = flow();
        assert!(flow.received(1, Protocol::Http1));
        assert_eq!(cut_after(&flow, Duration::from_secs(20)).await, Some(CutReason::SlowHead));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_response_that_is_being_produced() {
        let flow = flow();
        flow.response_began();
        assert_eq!(cut_after(&flow, Duration::from_secs(3600)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_alone_do_not_count_as_reading() {
        let flow = flow();
        flow.response_began();
        flow.wait_begun();
        let pinging = async {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                flow.wrote(17);
            }
        };
        tokio::select! {
            reason = until_over(&flow, &LIMITS) => assert_eq!(reason, CutReason::Stalled),
            () = pinging => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_stalled() {
        let flow = flow();
        flow.response_began();
        flow.wait_begun();
        let reading = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(30)).await;
                flow.wrote(4096);
                flow.blocked();
            }
        };
        tokio::select! {
            reason = until_over(&flow, &LIMITS) => panic!("{reason:?}"),
            () = reading => {}
        }
    }
}
