//! Faults, and when they occur.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::dice::Dice;

/// A fault in a response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Another status, with a body as upstream (429, 500, other 4xx) or a proxy before it (502, 503, 504) writes it.
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
    /// The body breaks off in its middle.
    Truncate,
    /// 200 and a page of HTML.
    Html,
    /// 200 and an error's body.
    ErrorBody,
    /// 200 and a page without rows that promises more.
    EmptyPage,
    /// The body dribbles in over this time.
    Slow(Duration),
    /// The response is this late.
    Delay(Duration),
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

/// A request, as far as rules look at it.
#[derive(Debug)]
pub(super) struct SeenRequest {
    /// Its number, from 1.
    pub(super) number: u64,
    pub(super) path: String,
    /// The query as received, without its question mark.
    pub(super) query: String,
}

impl SeenRequest {
    /// The requested page; of a list without a number, the first.
    pub(super) fn page(&self) -> Option<u64> {
        if !self.path.ends_with("/executions") {
            return None;
        }
        let mut parameters = form_urlencoded::parse(self.query.as_bytes());
        let number = parameters.find_map(|(name, value)| (name == "page_number").then_some(value));
        number.map_or(Some(1), |number| number.parse().ok())
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
            && self.page.is_none_or(|page| request.page() == Some(page))
            && self
                .per_million
                .is_none_or(|share| Dice::of(&[seed, number, rule as u64, 14]).below(1_000_000) < share)
    }
}

/// The rules in force, and how often each has applied.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(FaultRule, u64)>>);

impl Faults {
    pub(super) fn new(rules: Vec<FaultRule>) -> Self {
        Self(Mutex::new(rules.into_iter().map(|rule| (rule, 0)).collect()))
    }

    /// The fault of a request, by the first rule that applies.
    pub(super) fn strike(&self, seed: u64, request: &SeenRequest) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rule, struck) = rules.iter_mut().enumerate().find_map(|(index, (rule, struck))| {
            let is_spent = rule.when.times.is_some_and(|times| *struck >= times);
            (!is_spent && rule.when.holds(seed, index, request)).then_some((rule, struck))
        })?;
        *struck += 1;
        Some(rule.fault.clone())
    }
}
