//! Reads what a client still sends after its request has been refused.
//!
//! A server that closes a connection with unread bytes resets it, and the client sees the reset instead of
//! the response. Over HTTP/2 the stream is reset once the response is sent (RFC 9113 section 8.1), and curl
//! and httpx report the reset. Therefore the body of a refused request is read to its end and discarded,
//! within bounds, before the response is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::poll_fn;
use http::{HeaderValue, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The maximum number of bytes to discard.
const MOST: u64 = 128 << 20;

/// The longest time to spend on discarding.
const LONGEST: Duration = Duration::from_secs(10);

/// Answers a request, and reads what is left of its body if the answer is a refusal.
pub(super) async fn read_on<F>(request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    if request.body().is_end_stream() {
        return answer(request).await;
    }
    let has_own_connection = request.version() < Version::HTTP_2;
    let waits_to_be_asked = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let hint = body.size_hint();
    let is_left = CancellationToken::new();
    let rest = Arc::new(Rest { body: Mutex::new(body), is_asked: AtomicBool::new(false) });
    let lent = Lent { rest: Arc::clone(&rest), hint, _left: is_left.clone().drop_guard() };
    let mut response = answer(Request::from_parts(parts, Body::new(lent))).await;
    if response.status().as_u16() < 400 {
        return response;
    }
    // A client that waits for `100 Continue` sends nothing until it is asked.
    let is_sending = !waits_to_be_asked || rest.is_asked.load(Ordering::Relaxed);
    let reading = async {
        is_left.cancelled().await;
        rest.read().await
    };
    let is_at_its_end = is_sending && tokio::time::timeout(LONGEST, reading).await.unwrap_or(false);
    if !is_at_its_end && has_own_connection {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body, which the handler may not read to its end.
struct Rest {
    body: Mutex<Body>,
    is_asked: AtomicBool,
}

type PolledRest = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl Rest {
    fn poll(&self, cx: &mut Context<'_>) -> PolledRest {
        self.is_asked.store(true, Ordering::Relaxed);
        Pin::new(&mut *self.body.lock()).poll_frame(cx)
    }

    /// Reads the rest, and returns whether it reached the end.
    async fn read(&self) -> bool {
        let mut bytes = 0;
        while bytes <= MOST {
            match poll_fn(|cx| self.poll(cx)).await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            }
        }
        false
    }
}

/// The body as handed to the handler.
struct Lent {
    rest: Arc<Rest>,
    /// The size of the whole body, as announced.
    hint: SizeHint,
    _left: DropGuard,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledRest {
        self.rest.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.body.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
