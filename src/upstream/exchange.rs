use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use crate::source::{Deadline, SourceError, UpstreamWords};
use crate::telemetry::{Failed, WatchedRequest};

use super::accepted::Accepted;
use super::ask::{About, Ask};
use super::client::{AttemptRequest, Broken, ConnectionChoice, HttpClient, Pool, ResponseHead};
use super::clock::ClockEstimate;
use super::error_body;
use super::failures::AttemptFailure;
use super::gate::{Fault, Pass, PassOutcome};
use super::retry::{Cause, Tries};
use super::stats::{Counters, RequestOutcome};
use super::status_class::StatusClass;

/// The outcome of an exchange.
enum Exchanged {
    Body(Bytes, Pool),
    Refused(Refused),
    Broken(Broken),
    TimedOut,
    /// The deadline passed.
    Abandoned,
}

struct Refused {
    status: StatusCode,
    words: UpstreamWords,
    retry_after: Option<Duration>,
}

/// Sends requests whose turn it is, and lets the gate, the clock and the metrics learn from the responses.
#[derive(Debug)]
pub(super) struct Exchanger {
    pub(super) client: Arc<HttpClient>,
    pub(super) attempt_timeout: Duration,
    pub(super) accepted: Accepted,
    pub(super) clock: Mutex<ClockEstimate>,
    pub(super) counters: Counters,
}

impl Exchanger {
    /// How far upstream's clock is ahead, in microseconds.
    pub(super) fn clock_ahead_micros(&self) -> i64 {
        self.clock.lock().ahead_micros()
    }

    /// Sends the request, reads the response, and lets the gate, the clock and the metrics learn from it.
    /// Returns the body with the connections that it came from.
    pub(super) async fn exchange(
        &self,
        ask: &Ask<'_>,
        pass: Pass,
        tries: &Tries,
        request: WatchedRequest,
    ) -> Result<(Bytes, Pool), AttemptFailure> {
        let mut end = RequestEnd { counters: &self.counters, request, outcome: RequestOutcome::Abandoned };
        let exchanged = tokio::select! {
            exchanged = timeout(self.attempt_timeout, self.send(ask, &pass, tries, &mut end.request)) => {
                exchanged.unwrap_or(Exchanged::TimedOut)
            }
            () = passed(ask.context.deadline.as_ref()) => Exchanged::Abandoned,
        };
        end.outcome = label(&exchanged);
        // An exchange that ended too early to teach anything only frees its connection.
        match outcome(&exchanged, tries) {
            Some(outcome) => pass.finish(outcome),
            None => drop(pass),
        }
        match &exchanged {
            Exchanged::Body(..) => self.accepted.add(ask.credential.id()),
            // A refusal about an agent may concern only that agent.
            Exchanged::Refused(Refused { status, .. })
                if matches!((status.as_u16(), ask.about), (401 | 403, About::Key)) =>
            {
                self.accepted.remove(ask.credential.id());
            }
            Exchanged::Refused(_) | Exchanged::Broken(_) | Exchanged::TimedOut | Exchanged::Abandoned => {}
        }
        result(exchanged)
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        pass: &Pass,
        tries: &Tries,
        watched: &mut WatchedRequest,
    ) -> Exchanged {
        let way = if tries.had_mismatch() { ConnectionChoice::Alone } else { ConnectionChoice::Shared };
        let request =
            AttemptRequest { url: ask.url.clone(), credential: ask.credential, trace: watched.trace(), way };
        let head = match self.client.send(request).await {
            Ok(head) => head,
            Err(broken) => return Exchanged::Broken(broken),
        };
        pass.answered(head.status.is_success().then_some(ask.context.caller));
        watched.answered(head.status.as_u16());
        if head.status.is_success() {
            self.learn_clock(&head);
            let pool = head.pool;
            return head.body().await.map_or_else(Exchanged::Broken, |body| Exchanged::Body(body, pool));
        }
        let (status, retry_after) = (head.status, head.retry_after);
        Exchanged::Refused(Refused { status, words: head.words(ask.credential).await, retry_after })
    }

    /// Learn only from successes: errors may come from a hop with a wrong clock.
    fn learn_clock(&self, head: &ResponseHead) {
        let mut clock = self.clock.lock();
        match head.date {
            Some(date) => clock.observe(date, head.exchange, Instant::now()),
            None => clock.saw_no_date(),
        }
        if let Some(ahead) = clock.news() {
            let seconds = ahead / 1_000_000;
            tracing::warn!(
                target: "fanfold::upstream",
                seconds,
                "Upstream's clock is {seconds} s ahead of this machine's at the start of fanfold. Upstream's clock is used."
            );
        }
    }
}

/// Returns once a deadline, which may be moved later meanwhile, has passed; never without one.
async fn passed(deadline: Option<&Deadline>) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    while Instant::now() < deadline.instant() {
        sleep_until(deadline.instant()).await;
    }
}

/// Counts the request when it ends, even if its caller has left.
struct RequestEnd<'a> {
    counters: &'a Counters,
    request: WatchedRequest,
    outcome: RequestOutcome,
}

impl Drop for RequestEnd<'_> {
    fn drop(&mut self) {
        self.counters.ended(self.outcome);
        let failed = if self.outcome == RequestOutcome::Ok { Failed::No } else { Failed::Yes };
        self.request.end(self.outcome.label(), failed);
    }
}

const fn label(exchanged: &Exchanged) -> RequestOutcome {
    match exchanged {
        Exchanged::Body(..) => RequestOutcome::Ok,
        Exchanged::Refused(Refused { status, .. }) => RequestOutcome::of(*status),
        Exchanged::Broken(Broken::Connect(_)) => RequestOutcome::Unreachable,
        Exchanged::Broken(
            Broken::BeforeAnswer(_) | Broken::WithinAnswer(_) | Broken::TooLarge | Broken::Unsendable,
        ) => RequestOutcome::Broken,
        Exchanged::TimedOut => RequestOutcome::TimedOut,
        Exchanged::Abandoned => RequestOutcome::Abandoned,
    }
}

/// What the gate learns; `None` if the outcome says nothing about upstream.
const fn outcome(exchanged: &Exchanged, tries: &Tries) -> Option<PassOutcome> {
    Some(match exchanged {
        Exchanged::Body(..) | Exchanged::Broken(Broken::TooLarge) => PassOutcome::Answered,
        Exchanged::Refused(Refused { status, retry_after, .. }) => match StatusClass::of(*status) {
            StatusClass::Limited => PassOutcome::Limited(*retry_after),
            StatusClass::HopTimedOut => PassOutcome::TimedOut,
            StatusClass::Failed => PassOutcome::Failed(Fault::Answer),
            StatusClass::Success
            | StatusClass::Redirect
            | StatusClass::Denied
            | StatusClass::NotFound
            | StatusClass::ProxyDenied
            | StatusClass::Refused
            | StatusClass::Undefined => PassOutcome::Answered,
        },
        Exchanged::Broken(Broken::Connect(_)) => PassOutcome::Failed(Fault::Connection),
        // An upstream that restarts closes all idle connections at once. Whether it is down shows on new
        // ones.
        Exchanged::Broken(Broken::BeforeAnswer(_)) if !tries.had_dead_connection() => return None,
        Exchanged::Broken(Broken::BeforeAnswer(_) | Broken::WithinAnswer(_)) => {
            PassOutcome::Failed(Fault::Answer)
        }
        Exchanged::TimedOut => PassOutcome::TimedOut,
        Exchanged::Broken(Broken::Unsendable) | Exchanged::Abandoned => return None,
    })
}

/// The body, or why the attempt failed.
fn result(exchanged: Exchanged) -> Result<(Bytes, Pool), AttemptFailure> {
    let broken = |detail, cause| AttemptFailure {
        error: SourceError::Unavailable { detail, retry_after: None, upstream: None },
        cause,
    };
    Err(match exchanged {
        Exchanged::Body(body, pool) => return Ok((body, pool)),
        Exchanged::Refused(Refused { status, words, retry_after }) => {
            let cause = match StatusClass::of(status) {
                StatusClass::Limited => Cause::Limited,
                StatusClass::HopTimedOut | StatusClass::Failed => Cause::Transient(retry_after),
                StatusClass::Success | StatusClass::Redirect | StatusClass::Undefined => Cause::Malformed,
                StatusClass::Denied
                | StatusClass::NotFound
                | StatusClass::ProxyDenied
                | StatusClass::Refused => Cause::Final,
            };
            AttemptFailure { error: error_body::refusal(status, words, retry_after), cause }
        }
        Exchanged::Broken(Broken::BeforeAnswer(detail)) => broken(detail, Cause::IdleConnection),
        Exchanged::Broken(Broken::Connect(detail) | Broken::WithinAnswer(detail)) => {
            broken(detail, Cause::Transient(None))
        }
        Exchanged::Broken(Broken::TooLarge) => AttemptFailure {
            error: SourceError::Malformed { detail: "larger than any page".to_owned() },
            cause: Cause::Malformed,
        },
        Exchanged::Broken(Broken::Unsendable) => AttemptFailure {
            error: SourceError::Denied(UpstreamWords {
                status: StatusCode::UNAUTHORIZED.as_u16(),
                message: "the key contains characters that are not allowed in a header".to_owned(),
            }),
            cause: Cause::Final,
        },
        Exchanged::TimedOut => AttemptFailure { error: SourceError::TimedOut, cause: Cause::Transient(None) },
        Exchanged::Abandoned => AttemptFailure { error: SourceError::TimedOut, cause: Cause::Final },
    })
}
