use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;
use tracing::debug;

use super::ServerLimits;
use super::body::{ActiveResponse, WatchedBody};
use super::drain_grace::until_drain_grace;
use super::flow::ConnectionFlow;
use super::io::{NoRoom, WatchedIo};
use super::stream_progress::StreamProgress;
use super::watch::until_over;
use crate::shutdown::Shutdown;
use crate::telemetry::{ConnectionCounts, CutReason};

/// The most bytes of a request's head on HTTP/1, and of a response gathered into one write; hyper has one setting for both.
/// With less, a response of one page (100 KB) takes two writes, which costs a tenth of the throughput. The memory of all
/// unfinished heads together has its own bound, see [`super::heads`].
const MAX_HTTP1_BUFFER: usize = 128 * 1024;

/// The most bytes of a request's head on h2.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// The most header fields of a request.
const MAX_HEADERS: usize = 100;

/// The most requests in flight on one h2 connection.
const MAX_STREAMS: u32 = 128;

/// The most response bytes that h2 holds per stream while its window is closed.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// How long an h2 connection may be silent before it is pinged, and how long the client may take to answer the ping.
const PING: Duration = Duration::from_secs(20);

/// How long a connection that is closed to make room may take to tell its client.
const SHED_GRACE: Duration = Duration::from_millis(250);

/// What serving a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The client's address.
    pub(super) peer: IpAddr,
    pub(super) limits: ServerLimits,
    pub(super) counts: ConnectionCounts,
    pub(super) shutdown: Shutdown,
}

/// Serves one connection until the client closes it, the watch cuts it off, or the process stops. Dropping the future closes
/// the connection at once.
pub(super) async fn run<T>(io: T, router: Router, flow: Arc<ConnectionFlow>, host: Host)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Host { peer, limits, counts, shutdown } = host.clone();
    let part = shutdown.part();
    let service = hyper::service::service_fn({
        let (flow, part) = (Arc::clone(&flow), part.clone());
        move |mut request| {
            request.extensions_mut().insert(part.clone());
            request.extensions_mut().insert(peer);
            answer(router.clone(), request, ActiveResponse::begin(&flow))
        }
    });
    let builder = builder(host);
    let io = TokioIo::new(WatchedIo::new(io, Arc::clone(&flow)));
    let mut connection = pin!(builder.serve_connection(io, service));

    let mut drain = pin!(shutdown.drain_begun());
    let (mut is_closing, mut is_shed) = (false, false);
    let mut drain_grace = pin!(until_drain_grace(&flow, &shutdown));
    let mut is_in_grace = false;
    let mut cut = pin!(async {
        shutdown.end_ordered().await;
        tokio::time::sleep(limits.flush_grace).await;
    });
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    if let Some(reason) = refusal(&*error) {
                        counts.cut(reason);
                    }
                    debug!(target: "fanfold::connection", %error, "A connection broke: {error}.");
                }
                return;
            }
            () = &mut drain, if !is_closing => {}
            reason = until_over(&flow, &limits) => {
                counts.cut(reason);
                // An idle client is asked to close first. If it still does nothing, it is gone.
                if reason != CutReason::Idle || is_closing {
                    debug!(target: "fanfold::connection", ?reason, "A connection was cut off: {reason:?}.");
                    return;
                }
            }
            () = flow.until_shed(), if !is_shed => {
                is_shed = true;
                counts.cut(CutReason::Shed);
                connection.as_mut().graceful_shutdown();
                // A request that has just arrived is still served.
                let is_over = tokio::time::timeout(SHED_GRACE, connection.as_mut()).await.is_ok();
                if is_over || flow.is_idle() {
                    return;
                }
            }
            () = &mut drain_grace, if !is_in_grace => {
                is_in_grace = true;
                part.end_part();
                continue;
            }
            () = &mut cut => return,
        }
        is_closing = true;
        connection.as_mut().graceful_shutdown();
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    active: ActiveResponse,
) -> Result<Response<WatchedBody>, Infallible> {
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| active.with(body, StreamProgress::current())))
}

/// Why the HTTP library or the bound on unfinished heads refused the client's bytes; `None` for any other error. No response
/// is counted for a refused head.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<CutReason> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NoRoom>() {
            return Some(CutReason::HeadMemory);
        }
        // An I/O error hides its cause behind its own source.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && inner.is::<NoRoom>()
        {
            return Some(CutReason::HeadMemory);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse_too_large() {
                return Some(CutReason::HeadTooLarge);
            } else if error.is_parse() {
                return Some(CutReason::Malformed);
            }
        }
        cause = error.source();
    }
    None
}

fn builder(host: Host) -> auto::Builder<Tasks> {
    let limits = host.limits;
    let mut builder = auto::Builder::new(Tasks(host));
    builder
        .http1()
        .timer(TokioTimer::new())
        // This timer also runs while a connection is idle, so it must not be shorter. The watch detects slow heads sooner.
        .header_read_timeout(limits.idle_timeout.max(limits.head_timeout))
        .max_buf_size(MAX_HTTP1_BUFFER)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Runs the streams of an h2 connection as tracked tasks, which the drain waits for, and cuts off each stream that its client
/// stops reading.
#[derive(Clone, Debug)]
struct Tasks(Host);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        let Host { limits, counts, shutdown, .. } = self.0.clone();
        let progress = Arc::new(StreamProgress::default());
        shutdown.spawn(async move {
            tokio::select! {
                biased;
                () = progress.scope(stream) => {}
                () = progress.until_stalled(limits.stall_timeout) => {
                    counts.cut(CutReason::StalledStream);
                    debug!(target: "fanfold::connection", "A stream was cut off: its client stopped reading.");
                }
            }
        });
    }
}
