//! Detects responses that belong to another request.
//!
//! On HTTP/1.1 a response is matched to its request only by its position on the connection. Once upstream, or
//! a hop before it, has answered one request twice, every later request on that connection may receive the
//! response to the one before it. Hyper notices this while no request is in flight; a response that arrives
//! later can be recognized only by its content. So what a response says about its request is compared with
//! the request, and a response that does not match is requested again on a new connection.
//!
//! A response about another agent is never accepted. Upstream may number its pages from 0 or ignore the
//! dates: such a response is accepted at the second attempt, and remembered for an hour if the gateway itself
//! wrote the query. A caller's query teaches nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{AgentId, Row, Span};

/// How long an observation of upstream's page numbers and dates is used. Repeating it costs one request.
const HOLDS_FOR: Duration = Duration::from_secs(60 * 60);

/// How far outside a span its rows may be: upstream may compare whole seconds.
const SLACK: Duration = Duration::from_secs(1);

/// The parts of a request that a response may show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expectation {
    pub(super) agent: Option<AgentId>,
    pub(super) number: Option<u32>,
    /// The page size, if it is not the maximum.
    pub(super) size: Option<u32>,
    pub(super) span: Option<Span>,
}

/// What in a response does not match its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The page number.
    Number,
    /// The agent.
    Agent,
    /// The dates of all rows.
    Span,
}

/// Who wrote the query of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// The gateway, whose requests for pages all look alike.
    Gateway,
    /// A caller, who may have written anything.
    Caller,
}

/// Which response to a request this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The first, on a shared connection.
    First,
    /// The second, on a separate connection.
    Second,
}

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// Use it.
    Accept,
    /// Send the request again, on a new connection.
    AskAgain,
    /// Treat it as an error.
    Refuse,
}

/// A parsed response, and everything in it that does not match its request.
#[derive(Debug)]
pub(super) struct Compared<T> {
    pub(super) response: T,
    pub(super) mismatches: Vec<Mismatch>,
}

impl<T> Compared<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Compared<U> {
        Compared { response: map(self.response), mismatches: self.mismatches }
    }
}

impl Expectation {
    /// All mismatches of a page with this number. `is_of_another`: whether anything in it names another
    /// agent.
    pub(super) fn mismatches(&self, number: Option<u64>, is_of_another: bool, rows: &[Row]) -> Vec<Mismatch> {
        let is_renumbered = self.number.zip(number).is_some_and(|(asked, told)| u64::from(asked) != told);
        let mut mismatches = Vec::new();
        mismatches.extend(is_renumbered.then_some(Mismatch::Number));
        mismatches.extend(is_of_another.then_some(Mismatch::Agent));
        mismatches.extend(self.span.is_some_and(|span| is_elsewhere(rows, span)).then_some(Mismatch::Span));
        mismatches
    }

    /// Whether this text names an agent other than the requested one, in any spelling of a UUID. An empty
    /// text names none.
    pub(super) fn is_another(&self, text: &str) -> bool {
        let is_asked = |asked: AgentId| Uuid::try_parse(text).is_ok_and(|id| AgentId::new(id) == asked);
        self.agent.is_some_and(|asked| !text.is_empty() && !is_asked(asked))
    }
}

/// Whether there are rows, and all of them are outside the span.
fn is_elsewhere(rows: &[Row], span: Span) -> bool {
    let (from, to) = (span.from().minus(SLACK), span.to().plus(SLACK));
    !rows.is_empty() && rows.iter().all(|row| row.created_at.is_some_and(|at| at < from || at > to))
}

/// How upstream was observed to handle the page numbers and dates of the gateway's own requests.
#[derive(Debug, Default)]
pub(super) struct Observed(Mutex<Vec<(Mismatch, Instant)>>);

impl Observed {
    /// Decides what to do with a response, and remembers what to expect from now on.
    pub(super) fn judge(
        &self,
        mismatches: &[Mismatch],
        author: Author,
        attempt: Attempt,
        now: Instant,
    ) -> Judgment {
        if mismatches.is_empty() {
            return Judgment::Accept;
        }
        if mismatches.contains(&Mismatch::Agent) {
            return if attempt == Attempt::First { Judgment::AskAgain } else { Judgment::Refuse };
        }
        match (author, attempt) {
            (Author::Gateway, Attempt::First) if self.explain(mismatches, now) => Judgment::Accept,
            (Author::Gateway | Author::Caller, Attempt::First) => Judgment::AskAgain,
            (Author::Gateway, Attempt::Second) => {
                self.learn(mismatches, now);
                Judgment::Accept
            }
            (Author::Caller, Attempt::Second) => Judgment::Accept,
        }
    }

    /// Whether all of these were observed recently.
    fn explain(&self, mismatches: &[Mismatch], now: Instant) -> bool {
        let observed = self.0.lock();
        let is_observed = |mismatch: &Mismatch| {
            observed
                .iter()
                .any(|(known, at)| known == mismatch && now.saturating_duration_since(*at) < HOLDS_FOR)
        };
        mismatches.iter().all(is_observed)
    }

    fn learn(&self, mismatches: &[Mismatch], now: Instant) {
        let mut observed = self.0.lock();
        observed.retain(|(known, _)| !mismatches.contains(known));
        observed.extend(mismatches.iter().map(|&mismatch| (mismatch, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FilterFacts, Rounding, Timestamp};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text, Rounding::Down).unwrap()
    }

    fn asked() -> Expectation {
        Expectation {
            agent: Some(AgentId::new(Uuid::from_u128(5))),
            number: Some(2),
            size: None,
            span: Span::new(at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z")),
        }
    }

    fn rows(instants: &[&str]) -> Vec<Row> {
        let row = |text: &&str| Row {
            id: "a".into(),
            created_at: Timestamp::parse(text, Rounding::Down),
            updated_at: None,
            facts: FilterFacts::default(),
            status: None,
            bytes: bytes::Bytes::new(),
        };
        instants.iter().map(row).collect()
    }

    #[test]
    fn a_response_that_says_nothing_about_its_request_matches() {
        assert_eq!(asked().mismatches(None, false, &[]), []);
        assert_eq!(Expectation::default().mismatches(Some(7), false, &rows(&["1999-01-01T00:00:00Z"])), []);
    }

    #[test]
    fn another_number_does_not_match() {
        assert_eq!(asked().mismatches(Some(1), false, &[]), [Mismatch::Number]);
        assert_eq!(asked().mismatches(Some(2), false, &[]), []);
    }

    #[test]
    fn rows_outside_the_span_do_not_match_unless_one_is_inside_or_undated() {
        let mismatches = |instants: &[&str]| asked().mismatches(None, false, &rows(instants));
        assert_eq!(mismatches(&["2025-12-31T00:00:00Z", "2026-01-03T00:00:00Z"]), [Mismatch::Span]);
        assert_eq!(mismatches(&["2025-12-31T00:00:00Z", "2026-01-01T12:00:00Z"]), []);
        assert_eq!(mismatches(&["2025-12-31T00:00:00Z", "undated"]), []);
        assert_eq!(mismatches(&["2026-01-02T00:00:00.999Z"]), []);
    }

    #[test]
    fn an_agent_matches_in_every_spelling_of_its_uuid() {
        for text in [
            "",
            "00000000-0000-0000-0000-000000000005",
            "00000000000000000000000000000005",
            "urn:uuid:00000000-0000-0000-0000-000000000005",
        ] {
            assert!(!asked().is_another(text), "{text}");
        }
        for text in
            ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000A", "agent five"]
        {
            assert!(asked().is_another(text), "{text}");
        }
        assert!(!Expectation::default().is_another("agent five"));
        assert_eq!(asked().mismatches(None, true, &[]), [Mismatch::Agent]);
    }

    #[test]
    fn another_agent_is_refused_at_every_second_attempt() {
        let (observed, now) = (Observed::default(), Instant::now());
        for author in [Author::Gateway, Author::Caller, Author::Gateway] {
            for mismatches in [&[Mismatch::Agent][..], &[Mismatch::Number, Mismatch::Agent]] {
                let judge = |attempt| observed.judge(mismatches, author, attempt, now);
                assert_eq!(judge(Attempt::First), Judgment::AskAgain);
                assert_eq!(judge(Attempt::Second), Judgment::Refuse);
            }
        }
    }

    #[test]
    fn observations_of_the_gateways_own_requests_expire() {
        let (observed, now) = (Observed::default(), Instant::now());
        let first =
            |mismatches: &[Mismatch], now| observed.judge(mismatches, Author::Gateway, Attempt::First, now);
        assert_eq!(first(&[], now), Judgment::Accept);
        assert_eq!(first(&[Mismatch::Number], now), Judgment::AskAgain);
        let second = observed.judge(&[Mismatch::Number], Author::Gateway, Attempt::Second, now);
        assert_eq!(second, Judgment::Accept);
        assert_eq!(first(&[Mismatch::Number], now), Judgment::Accept);
        assert_eq!(first(&[Mismatch::Number, Mismatch::Span], now), Judgment::AskAgain);
        assert_eq!(first(&[Mismatch::Number], now + HOLDS_FOR), Judgment::AskAgain);
    }

    #[test]
    fn a_callers_query_neither_teaches_nor_uses_observations() {
        let (observed, now) = (Observed::default(), Instant::now());
        let judge = |author, attempt| observed.judge(&[Mismatch::Number], author, attempt, now);
        assert_eq!(judge(Author::Caller, Attempt::Second), Judgment::Accept);
        assert_eq!(judge(Author::Gateway, Attempt::First), Judgment::AskAgain);
        assert_eq!(judge(Author::Gateway, Attempt::Second), Judgment::Accept);
        assert_eq!(judge(Author::Caller, Attempt::First), Judgment::AskAgain);
    }
}
