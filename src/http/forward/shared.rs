//! Responses that the callers of one key share: one read for all who ask at once, cached for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::CredentialId;
use crate::forward::{Forward, ForwardBody, ForwardError};
use crate::shutdown::Shutdown;

/// The largest response that is shared. A list of a thousand agents has some megabytes.
const MOST_WHOLE: usize = 16 << 20;

/// The credential and the path of a read.
pub(super) type ReadKey = (CredentialId, Arc<str>);

/// A complete response of upstream.
#[derive(Debug)]
pub(super) struct WholeResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) read_at: Instant,
    /// How old it may get; zero if it is not cached.
    pub(super) lifetime: Duration,
}

/// Why a read has no response.
#[derive(Clone, Debug)]
pub(super) enum NotRead {
    /// The request failed.
    Forward(ForwardError),
    /// The response is larger than [`MOST_WHOLE`].
    TooLarge,
}

type ReadOutcome = Result<Arc<WholeResponse>, NotRead>;

/// A read in progress. It ends when the last caller that waits for it leaves.
pub(super) struct PendingRead {
    outcome: Shared<BoxFuture<'static, ReadOutcome>>,
    _listeners: DropGuard,
}

/// How old a response may get, by its body.
pub(super) type Lifetime = Box<dyn FnOnce(&[u8]) -> Duration + Send>;

/// A read to start.
pub(super) struct ReadRequest {
    pub(super) key: ReadKey,
    pub(super) request: Request<ForwardBody>,
    /// How old the response may get; called only for a 200.
    pub(super) lifetime: Lifetime,
}

/// The cached responses and the reads in progress.
pub(super) struct SharedReads {
    kept: moka::sync::Cache<ReadKey, Arc<WholeResponse>>,
    flights: Mutex<HashMap<ReadKey, Weak<PendingRead>>>,
}

impl SharedReads {
    /// Creates a cache of at most this many bytes.
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |key: &ReadKey, whole: &Arc<WholeResponse>| {
            let headers: usize =
                whole.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
            u32::try_from(key.1.len() + whole.body.len() + headers + 512).unwrap_or(u32::MAX)
        };
        let kept = moka::sync::Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Self { kept, flights: Mutex::default() }
    }

    /// The cached response, if it has not expired.
    pub(super) fn kept(&self, key: &ReadKey) -> Option<Arc<WholeResponse>> {
        self.kept.get(key).filter(|whole| whole.read_at.elapsed() <= whole.lifetime)
    }

    /// Drops everything read with a credential. Reads in progress are still delivered to waiting callers, but
    /// not cached.
    pub(super) fn drop_credential(&self, credential: CredentialId) {
        self.drop_where(|key| key.0 == credential);
    }

    /// Drops everything.
    pub(super) fn drop_all(&self) {
        self.drop_where(|_| true);
    }

    fn drop_where(&self, is_meant: impl Fn(&ReadKey) -> bool) {
        let mut flights = self.flights.lock();
        flights.retain(|key, _| !is_meant(key));
        let keys: Vec<_> = self.kept.iter().map(|(key, _)| key).filter(|key| is_meant(key)).collect();
        keys.iter().for_each(|key| self.kept.invalidate(&**key));
    }

    /// Joins a read in progress, or starts it.
    pub(super) fn read(
        self: &Arc<Self>,
        reading: ReadRequest,
        forward: Arc<dyn Forward>,
        shutdown: &Shutdown,
    ) -> Arc<PendingRead> {
        let mut flights = self.flights.lock();
        if let Some(under_way) = flights.get(&reading.key).and_then(Weak::upgrade) {
            return under_way;
        }
        let left = CancellationToken::new();
        let (say, hear) = oneshot::channel();
        let lost = || Err(NotRead::Forward(ForwardError::Broken));
        let flight = Arc::new(PendingRead {
            outcome: hear.map(move |heard| heard.unwrap_or_else(|_| lost())).boxed().shared(),
            _listeners: left.clone().drop_guard(),
        });
        let own = Arc::downgrade(&flight);
        flights.insert(reading.key.clone(), Weak::clone(&own));
        let reads = Arc::clone(self);
        let ended = shutdown.clone();
        shutdown.spawn(async move {
            let ReadRequest { key, request, lifetime } = reading;
            let outcome = tokio::select! {
                biased;
                () = left.cancelled() => None,
                () = ended.end_ordered() => None,
                outcome = take_in(&*forward, request, lifetime) => Some(outcome),
            };
            reads.land(&key, &own, outcome.as_ref());
            if let Some(outcome) = outcome {
                // All callers may have left.
                let _ = say.send(outcome);
            }
        });
        flight
    }

    /// Caches the response, unless it was dropped meanwhile.
    fn land(&self, key: &ReadKey, own: &Weak<PendingRead>, outcome: Option<&ReadOutcome>) {
        let mut flights = self.flights.lock();
        if !flights.get(key).is_some_and(|listed| listed.ptr_eq(own)) {
            return;
        }
        flights.remove(key);
        if let Some(Ok(whole)) = outcome
            && !whole.lifetime.is_zero()
        {
            self.kept.insert(key.clone(), Arc::clone(whole));
        }
    }
}

impl PendingRead {
    /// Waits for the outcome.
    pub(super) async fn outcome(&self) -> ReadOutcome {
        self.outcome.clone().await
    }
}

async fn take_in(forward: &dyn Forward, request: Request<ForwardBody>, lifetime: Lifetime) -> ReadOutcome {
    let read_at = Instant::now();
    let answer = forward.forward(request).await.map_err(NotRead::Forward)?;
    let (parts, mut body) = answer.into_parts();
    let mut taken = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NotRead::Forward(ForwardError::Broken))?;
        if let Some(data) = frame.data_ref() {
            if taken.len() + data.len() > MOST_WHOLE {
                return Err(NotRead::TooLarge);
            }
            taken.extend_from_slice(data);
        }
    }
    let body = taken.freeze();
    let lifetime = if parts.status == StatusCode::OK { lifetime(&body) } else { Duration::ZERO };
    let headers = super::headers::downwards(&parts.headers);
    Ok(Arc::new(WholeResponse { status: parts.status, headers, body, read_at, lifetime }))
}

impl fmt::Debug for SharedReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedReads")
    }
}

#[cfg(test)]
mod tests;
