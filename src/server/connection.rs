use std::convert::Infallible;
use std::future::Future;
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

use super::Limits;
use super::body::{Answering, WatchedBody};
use super::flow::Flow;
use super::io::WatchedIo;
use super::last_call::until_last_call;
use super::watch::{Verdict, until_over};
use crate::shutdown::Shutdown;

/// The most bytes of a request's head on HTTP/1: a key, a trace and a query fit many times over. Hyper has one number
/// for this and for the bytes of answers gathered into one write, and smaller writes cost.
const MAX_HTTP1_BUFFER: usize = 128 * 1024;

/// The same on h2.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// The most header fields of a request.
const MAX_HEADERS: usize = 100;

/// Requests in flight on one h2 connection.
const MAX_STREAMS: u32 = 128;

/// Bytes of answers that h2 holds per stream while its window is closed.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// How long an h2 connection may be silent until it is asked for a sign of life, and how long that may take.
const PING: Duration = Duration::from_secs(20);

/// Serves one connection until its client or the process has had enough. Dropping it cuts the client off.
pub(super) async fn run<T>(io: T, router: Router, limits: Limits, shutdown: Shutdown)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let flow = Arc::new(Flow::default());
    let part = shutdown.part();
    let service = hyper::service::service_fn({
        let (flow, part) = (Arc::clone(&flow), part.clone());
        move |mut request| {
            request.extensions_mut().insert(part.clone());
            answer(router.clone(), request, Answering::begin(&flow))
        }
    });
    let builder = builder(&limits, shutdown.clone());
    let io = TokioIo::new(WatchedIo::new(io, Arc::clone(&flow)));
    let mut connection = pin!(builder.serve_connection(io, service));

    let mut drain = pin!(shutdown.drain_begun());
    let mut is_closing = false;
    let mut last_call = pin!(until_last_call(&flow, &shutdown));
    let mut is_last_called = false;
    let mut cut = pin!(async {
        shutdown.end_ordered().await;
        tokio::time::sleep(limits.flush_grace).await;
    });
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    debug!(%error, "A connection broke: {error}.");
                }
                return;
            }
            () = &mut drain, if !is_closing => {}
            verdict = until_over(&flow, &limits) => match verdict {
                // Once it was told to close and still does nothing, it is not there any more.
                Verdict::Idle if !is_closing => {}
                Verdict::Idle | Verdict::Stalled | Verdict::SlowHead => {
                    debug!(?verdict, "A connection was cut off: {verdict:?}.");
                    return;
                }
            },
            () = &mut last_call, if !is_last_called => {
                is_last_called = true;
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
    answering: Answering,
) -> Result<Response<WatchedBody>, Infallible> {
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| answering.with(body)))
}

fn builder(limits: &Limits, shutdown: Shutdown) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(Tasks(shutdown));
    builder
        .http1()
        .timer(TokioTimer::new())
        // It runs while a connection is idle, too, so it is as long as that; the watch finds slow heads sooner.
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

/// Where hyper runs the streams of an h2 connection: in sight of the drain.
#[derive(Clone, Debug)]
struct Tasks(Shutdown);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
