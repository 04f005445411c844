//! Faults, and when they occur.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::dice::Dice;
use super::log::SeenRequest;

/// A fault in a response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Another status, with a body like upstream's (429, 500, other 4xx) or a proxy's in front of it (502,
    /// 503, 504).
    Status {
        /// The status.
        status: u16,
        /// What `Retry-After` says, in whole seconds rounded up.
        retry_after: Option<Duration>,
    },
    /// The connection is reset; of HTTP/2, the stream.
    Reset,
    /// No response ever arrives.
    Hang,
    /// The body is truncated in its middle.
    Truncate,
    /// 200 and a page of HTML.
    Html,
    /// 200 and an error's body.
    ErrorBody,
    /// 200 and a page without rows that promises more.
    EmptyPage,
    /// The body arrives slowly, over this time.
    Slow(Duration),
    /// The response is this late.
    Delay(Duration),
    /// The response waits until a gate is opened.
    Hold(Gate),
}

/// When a fault occurs: if all given conditions hold.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// For requests from this number on, counted from 1.
    pub first: Option<u64>,
    /// For requests up to this number.
    pub last: Option<u64>,
    /// For requests whose number is a multiple of this.
    pub every: Option<u64>,
    /// For requests whose path begins with this.
    pub path: Option<String>,
    /// For requests whose query contains this.
    pub query: Option<String>,
    /// For requests for this page.
    pub page: Option<u64>,
    /// For this many of a million requests, drawn from the seed and the request's number.
    pub per_million: Option<u64>,
    /// At most this often.
    pub times: Option<u64>,
}

/// A fault and when it occurs.
#[derive(Clone, Debug)]
pub struct FaultRule {
    /// The fault.
    pub fault: Fault,
    /// When.
    pub when: When,
}

impl FaultRule {
    /// A fault that always occurs.
    pub const fn always(fault: Fault) -> Self {
        let when = When {
            first: None,
            last: None,
            every: None,
            path: None,
            query: None,
            page: None,
            per_million: None,
            times: None,
        };
        Self { fault, when }
    }

    /// At most this often.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.when.times = Some(times);
        self
    }

    /// Only for this page.
    #[must_use]
    pub const fn on_page(mut self, page: u64) -> Self {
        self.when.page = Some(page);
        self
    }

    /// Only for the request with this number, counted from 1.
    #[must_use]
    pub const fn on_request(mut self, number: u64) -> Self {
        self.when.first = Some(number);
        self.when.last = Some(number);
        self
    }
}

impl When {
    fn holds(&self, seed: u64, rule: usize, request: &SeenRequest) -> bool {
        let number = request.number;
        self.first.is_none_or(|first| first <= number)
            && self.last.is_none_or(|last| number <= last)
            && self.every.is_none_or(|every| every > 0 && number.is_multiple_of(every))
            && self.path.as_ref().is_none_or(|path| request.path.starts_with(path.as_str()))
            && self.query.as_ref().is_none_or(|query| request.query.contains(query.as_str()))
            && self.page.is_none_or(|page| page_of(request) == Some(page))
            && self
                .per_million
                .is_none_or(|share| Dice::of(&[seed, number, rule as u64, 14]).below(1_000_000) < share)
    }
}

/// The requested page of a list; without a number, the first.
pub(super) fn page_of(request: &SeenRequest) -> Option<u64> {
    if !request.path.ends_with("/executions") {
        return None;
    }
    request.parameter("page_number").map_or(Some(1), |number| number.parse().ok())
}

/// The rules in force, and how often each has applied.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(FaultRule, u64)>>);

impl Faults {
    pub(super) fn new(rules: Vec<FaultRule>) -> Self {
        Self(Mutex::new(rules.into_iter().map(|rule| (rule, 0)).collect()))
    }

    /// Adds a rule after the others.
    pub(super) fn add(&self, rule: FaultRule) {
        self.0.lock().push((rule, 0));
    }

    /// The fault of a request, by the first rule that applies.
    pub(super) fn strike(&self, seed: u64, request: &SeenRequest) -> Option<Fault> {
        let mut rules = self.0.lock();
        let (rule, struck) = rules.iter_mut().enumerate().find_map(|(index, (rule, struck))| {
            let is_spent = rule.when.times.is_some_and(|times| *struck >= times);
            (!is_spent && rule.when.holds(seed, index, request)).then_some((rule, struck))
        })?;
        *struck += 1;
        Some(rule.fault.clone())
    }
}

/// Holds responses back until it is opened. Clones share one state.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<GateState>>);

#[derive(Debug, Default)]
struct GateState {
    arrived: usize,
    is_open: bool,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(GateState::default())))
    }

    /// Lets all waiting and future responses through.
    pub fn open(&self) {
        self.0.send_modify(|state| state.is_open = true);
    }

    /// Returns when this many requests have arrived, since the beginning.
    pub async fn arrived(&self, requests: usize) {
        let mut state = self.0.subscribe();
        // Fails only without a sender, which lives as long as this gate.
        let _ = state.wait_for(|state| state.arrived >= requests).await;
    }

    /// Arrives, and waits until the gate is open.
    pub(super) async fn pass(&self) {
        let mut state = self.0.subscribe();
        self.0.send_modify(|state| state.arrived += 1);
        let _ = state.wait_for(|state| state.is_open).await;
    }
}
