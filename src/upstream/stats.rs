use std::sync::atomic::{AtomicU64, Ordering};

use super::status_class::StatusClass;
use crate::telemetry::{GateReadings, HeldBytes, UpstreamReadings};

/// The outcome of a request to upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// A success, well formed or not.
    Ok,
    /// 401 or 403.
    Denied,
    /// 404.
    NotFound,
    /// 429.
    Limited,
    /// Another 4xx, or a redirect.
    Refused,
    /// 5xx.
    ServerError,
    /// No connection could be made.
    Unreachable,
    /// The connection broke.
    Broken,
    /// No response in time.
    TimedOut,
    /// The caller left before the response.
    Abandoned,
}

impl RequestOutcome {
    /// All outcomes, in the order of their counters.
    pub(super) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Denied,
        Self::NotFound,
        Self::Limited,
        Self::Refused,
        Self::ServerError,
        Self::Unreachable,
        Self::Broken,
        Self::TimedOut,
        Self::Abandoned,
    ];

    /// The value of the metric label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
        }
    }

    /// The outcome for a status.
    pub(super) const fn of(status: http::StatusCode) -> Self {
        match StatusClass::of(status) {
            StatusClass::Success => Self::Ok,
            StatusClass::Denied => Self::Denied,
            StatusClass::NotFound => Self::NotFound,
            StatusClass::Limited => Self::Limited,
            StatusClass::Failed => Self::ServerError,
            StatusClass::Redirect
            | StatusClass::HopTimedOut
            | StatusClass::ProxyDenied
            | StatusClass::Refused
            | StatusClass::Undefined => Self::Refused,
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: [AtomicU64; RequestOutcome::ALL.len()],
    pub(super) retries: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// Bodies of pages, until the last of their rows is stored elsewhere.
    pub(super) pages: HeldBytes,
}

impl Counters {
    pub(super) fn ended(&self, outcome: RequestOutcome) {
        self.requests[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn readings(&self, gate: GateReadings) -> UpstreamReadings {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let requests = RequestOutcome::ALL.iter().zip(&self.requests);
        UpstreamReadings {
            requests: requests.map(|(outcome, count)| (outcome.label(), read(count))).collect(),
            retries: read(&self.retries),
            malformed: read(&self.malformed),
            body_bytes: read(&self.body_bytes),
            rejected: read(&self.rejected),
            page_bytes: self.pages.held(),
            gate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter() {
        for (i, outcome) in RequestOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
    }
}
