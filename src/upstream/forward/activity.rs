//! Tracks which side has to move next, and for how long nothing has moved.
//!
//! The client library's read timeout starts with the request and is not restarted by sent bytes, so it would
//! cut off an upload that never pauses. This timer is restarted by bytes in both directions, and stops while
//! the caller has to move: while it has not sent more of its body, or has not read what arrived.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::forward::ForwardBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a caller may pause within its body: as long as a client that reads nothing of a response.
const CALLERS_PAUSE: Duration = Duration::from_secs(60);

/// The latest movement.
#[derive(Debug)]
pub(super) struct Activity {
    /// The longest silence allowed to upstream.
    limit: Duration,
    state: Mutex<ActivityState>,
}

#[derive(Clone, Copy, Debug)]
struct ActivityState {
    moved_at: Instant,
    upload: Uploading,
}

/// The state of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uploading {
    /// Upstream has to move: it has the complete body, or has not accepted what there is of it.
    Upstream,
    /// The caller has to move: upstream has accepted all that arrived.
    Caller,
    /// The caller's body broke off.
    Broken,
}

/// The side that has been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Upstream.
    Upstreams,
    /// The caller, within its body.
    Callers,
}

impl Activity {
    pub(super) fn new(limit: Duration) -> Self {
        let state = ActivityState { moved_at: Instant::now(), upload: Uploading::Upstream };
        Self { limit, state: Mutex::new(state) }
    }

    fn state(&self) -> ActivityState {
        *self.state.lock()
    }

    /// Records that bytes moved, or that the other side has to move.
    fn moved(&self, upload: Option<Uploading>) {
        let mut state = self.state.lock();
        state.moved_at = Instant::now();
        state.upload = upload.unwrap_or(state.upload);
    }

    fn waits_for_caller(&self) {
        let mut state = self.state.lock();
        if state.upload != Uploading::Caller {
            *state = ActivityState { moved_at: Instant::now(), upload: Uploading::Caller };
        }
    }

    /// Whether the caller's body broke off.
    pub(super) fn has_body_broken(&self) -> bool {
        self.state().upload == Uploading::Broken
    }

    /// When the silence will be too long, and of which side.
    fn due(&self) -> (Instant, Silence) {
        let ActivityState { moved_at, upload } = self.state();
        match upload {
            Uploading::Caller => (moved_at + CALLERS_PAUSE, Silence::Callers),
            Uploading::Upstream | Uploading::Broken => (moved_at + self.limit, Silence::Upstreams),
        }
    }

    /// Returns once one side has been silent for too long.
    pub(super) async fn silence(&self) -> Silence {
        loop {
            let (at, silence) = self.due();
            if Instant::now() >= at {
                return silence;
            }
            // The turn may have passed from the caller to upstream, whose limit is shorter.
            sleep_until(at.min(Instant::now() + self.limit)).await;
        }
    }
}

/// A request's body on its way upstream. Without trailers, which could otherwise add headers after the check.
#[derive(Debug)]
pub(super) struct Upload {
    inner: ForwardBody,
    activity: Arc<Activity>,
}

impl Upload {
    pub(super) const fn new(inner: ForwardBody, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let Poll::Ready(polled) = Pin::new(&mut self.inner).poll_frame(cx) else {
                self.activity.waits_for_caller();
                return Poll::Pending;
            };
            match polled {
                Some(Ok(frame)) if frame.is_trailers() => {}
                Some(Ok(frame)) => {
                    self.activity.moved(Some(Uploading::Upstream));
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(error)) => {
                    self.activity.moved(Some(Uploading::Broken));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.activity.moved(Some(Uploading::Upstream));
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body on its way to the caller, without trailers. It fails when upstream is silent for too
/// long. Time that the caller takes to ask for more doesn't count.
#[derive(Debug)]
pub(super) struct Download {
    inner: Incoming,
    activity: Arc<Activity>,
    waiting: Option<Pin<Box<Sleep>>>,
    has_no_body: bool,
}

impl Download {
    pub(super) fn new(inner: Incoming, activity: Arc<Activity>, has_no_body: bool) -> Self {
        activity.moved(None);
        Self { inner, activity, waiting: None, has_no_body }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        while let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.waiting = None;
            this.activity.moved(None);
            match polled {
                Some(Ok(frame)) if frame.is_trailers() => {}
                polled => return Poll::Ready(polled.map(|frame| frame.map_err(Into::into))),
            }
        }
        if this.waiting.is_none() {
            // From now on upstream has to move.
            this.activity.moved(None);
        }
        loop {
            let (at, _) = this.activity.due();
            let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep_until(at)));
            ready!(waiting.as_mut().poll(cx));
            let (at, _) = this.activity.due();
            if Instant::now() >= at {
                return Poll::Ready(Some(Err("upstream was silent for too long".into())));
            }
            waiting.as_mut().reset(at);
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.has_no_body && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_no_body { SizeHint::default() } else { self.inner.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    async fn silent_within(activity: &Activity, length: Duration) -> Option<Silence> {
        tokio::time::timeout(length, activity.silence()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn upstreams_silence_begins_after_the_last_byte_in_either_direction() {
        let activity = Activity::new(LIMIT);
        for _ in 0..40 {
            assert_eq!(silent_within(&activity, Duration::from_secs(10)).await, None);
            activity.moved(Some(Uploading::Upstream));
        }
        assert_eq!(silent_within(&activity, Duration::from_secs(16)).await, Some(Silence::Upstreams));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_does_not_count_as_upstreams_silence() {
        let activity = Activity::new(LIMIT);
        activity.waits_for_caller();
        assert_eq!(silent_within(&activity, Duration::from_secs(50)).await, None);
        activity.waits_for_caller();
        assert_eq!(silent_within(&activity, Duration::from_secs(11)).await, Some(Silence::Callers));
    }
}
