//! Faults, and when they occur.

use std::time::Duration;

use parking_lot::Mutex;

use super::dice::Dice;
use super::log::SeenRequest;

/// A fault in a response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with a body like upstream's or, for 502, 503 and 504, like that of a proxy in front of it.
    Status {
        /// The status.
        status: u16,
        /// The value of `Retry-After`, in whole seconds rounded up.
        retry_after: Option<Duration>,
    },
    /// The connection is reset; with HTTP/2, the stream.
    Reset,
    /// No response ever arrives.
    Hang,
    /// The body breaks off in its middle.
    Truncate,
    /// Status 200 with a page of HTML.
    Html,
    /// Status 200 with the body of an error.
    ErrorBody,
    /// Status 200 with an empty page that has `has_more: true`.
    EmptyPage,
    /// The body arrives slowly, over this time.
    Slow(Duration),
    /// The response is late by this time.
    Delay(Duration),
}

/// The conditions of a fault, all of which must hold.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// Requests from this number on, counted from 1.
    pub first: Option<u64>,
    /// Requests up to this number.
    pub last: Option<u64>,
    /// Requests whose number is a multiple of this.
    pub every: Option<u64>,
    /// Requests whose path begins with this.
    pub path: Option<String>,
    /// Requests whose query contains this.
    pub query: Option<String>,
    /// Requests for this page of a list.
    pub page: Option<u64>,
    /// This many of a million requests, drawn from the seed and the number of the request.
    pub per_million: Option<u64>,
    /// The most times that the fault occurs.
    pub times: Option<u64>,
}

/// A fault and its conditions.
#[derive(Clone, Debug)]
pub struct FaultRule {
    /// The fault.
    pub fault: Fault,
    /// The conditions.
    pub when: When,
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

/// The requested page of a list, which is the first by default.
pub(super) fn page_of(request: &SeenRequest) -> Option<u64> {
    if !request.path.ends_with("/executions") {
        return None;
    }
    request.parameter("page_number").map_or(Some(1), |number| number.parse().ok())
}

/// The rules, and how often each has applied.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(FaultRule, u64)>>);

impl Faults {
    pub(super) fn new(rules: Vec<FaultRule>) -> Self {
        Self(Mutex::new(rules.into_iter().map(|rule| (rule, 0)).collect()))
    }

    /// The fault for a request, by the first rule that applies.
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
