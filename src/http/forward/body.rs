//! The bodies of forwarded requests and responses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};

use super::shared::SharedReads;
use crate::domain::CredentialId;
use crate::forward::ForwardBody;
use crate::http::places::ResponsePlace;

/// How much of a response is read before it is forwarded, if it refuses an unfinished request. The request can then end.
const REFUSAL: u64 = 64 << 10;

/// The longest time to read it.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// A response's body, which holds its place until it is over.
pub(super) struct Guarded {
    inner: ForwardBody,
    _place: ResponsePlace,
    _written: Option<Written>,
}

/// Two bodies, one after the other.
struct Chained {
    first: Option<Box<ForwardBody>>,
    then: ForwardBody,
}

type PolledFrame = Poll<Option<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>>>;

impl Guarded {
    pub(super) const fn new(inner: ForwardBody, place: ResponsePlace, written: Option<Written>) -> Self {
        Self { inner, _place: place, _written: written }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for Chained {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = &mut *self;
        if let Some(first) = &mut this.first {
            match Pin::new(&mut **first).poll_frame(cx) {
                Poll::Ready(None) => this.first = None,
                polled @ (Poll::Ready(Some(_)) | Poll::Pending) => return polled,
            }
        }
        Pin::new(&mut this.then).poll_frame(cx)
    }
}

/// Drops the cached data of a caller that writes: once before upstream can have acted, and once when the
/// response has arrived or failed.
pub(super) struct Written {
    shared: Arc<SharedReads>,
    credential: CredentialId,
}

impl Written {
    pub(super) fn begin(shared: &Arc<SharedReads>, credential: CredentialId) -> Self {
        shared.drop_credential(credential);
        Self { shared: Arc::clone(shared), credential }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.shared.drop_credential(self.credential);
    }
}

/// The caller's body. An h2 request may end with an empty frame after the head: that is not a body.
pub(super) async fn request_body(body: Body, version: Version, has_length: bool) -> ForwardBody {
    if version < Version::HTTP_2 || has_length || body.is_end_stream() {
        return unbox(body);
    }
    let mut body = body;
    loop {
        match body.frame().await {
            None => return nothing(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    let first = http_body_util::Full::new(data).map_err(|never| match never {});
                    return Chained { first: Some(Box::new(first.boxed_unsync())), then: unbox(body) }
                        .boxed_unsync();
                }
                Err(_trailers) => {}
            },
            // A further read fails in the same way.
            Some(Err(_)) => return unbox(body),
        }
    }
}

fn unbox(body: Body) -> ForwardBody {
    body.map_err(Into::into).boxed_unsync()
}

/// Reads the beginning of a response into memory, so that the request that it refuses can end; the rest
/// follows.
pub(super) async fn taken_in(mut body: ForwardBody) -> ForwardBody {
    let mut taken = bytes::BytesMut::new();
    let take = async {
        while (taken.len() as u64) < REFUSAL {
            match body.frame().await {
                Some(Ok(frame)) => {
                    frame.data_ref().into_iter().for_each(|data| taken.extend_from_slice(data));
                }
                Some(Err(_)) | None => return,
            }
        }
    };
    let _in_time = tokio::time::timeout(REFUSAL_WAIT, take).await;
    let first = http_body_util::Full::new(taken.freeze()).map_err(|never| match never {});
    Chained { first: Some(Box::new(first.boxed_unsync())), then: body }.boxed_unsync()
}

pub(super) fn nothing() -> ForwardBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
