use std::collections::VecDeque;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A received request.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// Its number, from 1.
    pub number: u64,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query as received, without its question mark.
    pub query: String,
    /// Its key.
    pub key: Option<String>,
    /// Its `traceparent`.
    pub traceparent: Option<String>,
    /// When it arrived.
    pub at: Instant,
}

impl SeenRequest {
    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }
}

/// The received requests: the latest ones, their number, and the most in flight at once.
#[derive(Debug, Default)]
pub(super) struct RequestLog(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    latest: VecDeque<SeenRequest>,
    count: u64,
    in_flight: usize,
    most_in_flight: usize,
}

/// A request in progress; dropping it marks it as answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<RequestLog>);

impl RequestLog {
    /// Remembers a request, and forgets the oldest beyond `capacity`.
    pub(super) fn begin(
        self: &Arc<Self>,
        capacity: usize,
        mut request: SeenRequest,
    ) -> (SeenRequest, InFlight) {
        self.with(|seen| {
            seen.count += 1;
            request.number = seen.count;
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            seen.latest.push_back(request.clone());
            while seen.latest.len() > capacity {
                seen.latest.pop_front();
            }
        });
        (request, InFlight(Arc::clone(self)))
    }

    /// The latest requests, oldest first.
    pub(super) fn latest(&self) -> Vec<SeenRequest> {
        self.with(|seen| seen.latest.iter().cloned().collect())
    }

    /// How many requests there were.
    pub(super) fn count(&self) -> u64 {
        self.with(|seen| seen.count)
    }

    /// How many requests were in flight at once, at most.
    pub(super) fn most_in_flight(&self) -> usize {
        self.with(|seen| seen.most_in_flight)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.with(|seen| seen.in_flight -= 1);
    }
}
