//! Whether an answer is one to what was asked.
//!
//! On HTTP/1.1 an answer is told from another by its place on the connection alone: once upstream, or a hop before it, has answered one request
//! twice, every request on that connection may be given the answer to the one before it. Hyper notices as long as the
//! second answer comes while nothing is asked; what comes later has only itself to tell by. So what an answer says of its
//! question is held against it, and an answer to another question is asked for again on a connection of its own.
//!
//! Upstream promises none of this, and may number its pages from 0 or leave dates out of account. An answer that does not fit at
//! the second attempt either is therefore how upstream is, and such ones are taken for an hour: then it is looked at again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AgentId, Row, Span};

/// How long a habit of upstream's is taken for granted. Each costs one request more in that time.
const HOLDS_FOR: Duration = Duration::from_secs(60 * 60);

/// How far outside a span its rows may lie: upstream may compare whole seconds.
const SLACK: Duration = Duration::from_secs(1);

/// What was asked, as far as an answer may tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) agent: Option<AgentId>,
    pub(super) number: Option<u32>,
    pub(super) span: Option<Span>,
}

/// By what an answer shows that it is one to another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It has another page number.
    Number,
    /// It is of another agent.
    Agent,
    /// All its rows are of another time.
    Span,
}

/// What was read of an answer, and all by which it does not fit.
#[derive(Debug)]
pub(super) struct Fitted<T> {
    pub(super) answer: T,
    pub(super) misfits: Vec<Misfit>,
}

impl<T> Fitted<T> {
    /// What has nothing to tell by.
    pub(super) const fn unknown(answer: T) -> Self {
        Self { answer, misfits: Vec::new() }
    }

    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> Fitted<U> {
        Fitted { answer: map(self.answer), misfits: self.misfits }
    }
}

impl Asked {
    /// All by which a page with this number does not fit. `is_of_another`: whether any of its rows names another agent.
    pub(super) fn misfits(&self, number: Option<u64>, is_of_another: bool, rows: &[Row]) -> Vec<Misfit> {
        let is_renumbered = self.number.zip(number).is_some_and(|(asked, told)| u64::from(asked) != told);
        let mut misfits = Vec::new();
        misfits.extend(is_renumbered.then_some(Misfit::Number));
        misfits.extend(is_of_another.then_some(Misfit::Agent));
        misfits.extend(self.span.is_some_and(|span| is_elsewhere(rows, span)).then_some(Misfit::Span));
        misfits
    }

    /// Whether this text names an agent, and another one.
    pub(super) fn is_another(&self, text: &str) -> bool {
        self.agent.is_some_and(|asked| text.parse::<AgentId>().is_ok_and(|told| told != asked))
    }
}

/// Whether there are rows, and all of them of another time.
fn is_elsewhere(rows: &[Row], span: Span) -> bool {
    let (from, to) = (span.from().minus(SLACK), span.to().plus(SLACK));
    !rows.is_empty() && rows.iter().all(|row| row.created_at.is_some_and(|at| at < from || at > to))
}

/// What upstream does again and again, so that it says nothing of an answer.
#[derive(Debug, Default)]
pub(super) struct Habits(Mutex<Vec<(Misfit, Instant)>>);

impl Habits {
    /// Whether all of these are what upstream does anyway.
    pub(super) fn explain(&self, misfits: &[Misfit], now: Instant) -> bool {
        if misfits.is_empty() {
            return true;
        }
        let habits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_habit = |misfit: &Misfit| {
            habits.iter().any(|(known, at)| known == misfit && now.saturating_duration_since(*at) < HOLDS_FOR)
        };
        misfits.iter().all(is_habit)
    }

    /// Takes these for habits from now on.
    pub(super) fn learn(&self, misfits: Vec<Misfit>, now: Instant) {
        let mut habits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        habits.retain(|(known, _)| !misfits.contains(known));
        habits.extend(misfits.into_iter().map(|misfit| (misfit, now)));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Rounding, Timestamp};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text, Rounding::Down).unwrap()
    }

    fn asked() -> Asked {
        Asked {
            agent: Some(AgentId::new(Uuid::from_u128(5))),
            number: Some(2),
            span: Span::new(at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z")),
        }
    }

    fn rows(instants: &[&str]) -> Vec<Row> {
        let row = |text: &&str| Row {
            id: "a".into(),
            created_at: Timestamp::parse(text, Rounding::Down),
            updated_at: None,
            status: None,
            bytes: bytes::Bytes::new(),
        };
        instants.iter().map(row).collect()
    }

    #[test]
    fn an_answer_that_says_nothing_of_its_question_fits() {
        assert_eq!(asked().misfits(None, false, &[]), []);
        assert_eq!(Asked::default().misfits(Some(7), false, &rows(&["1999-01-01T00:00:00Z"])), []);
    }

    #[test]
    fn another_number_does_not_fit() {
        assert_eq!(asked().misfits(Some(1), false, &[]), [Misfit::Number]);
        assert_eq!(asked().misfits(Some(2), false, &[]), []);
    }

    #[test]
    fn rows_of_another_time_do_not_fit_unless_one_is_of_the_right_one_or_of_none() {
        let misfits = |instants: &[&str]| asked().misfits(None, false, &rows(instants));
        assert_eq!(misfits(&["2025-12-31T00:00:00Z", "2026-01-03T00:00:00Z"]), [Misfit::Span]);
        assert_eq!(misfits(&["2025-12-31T00:00:00Z", "2026-01-01T12:00:00Z"]), []);
        assert_eq!(misfits(&["2025-12-31T00:00:00Z", "undated"]), []);
        assert_eq!(misfits(&["2026-01-02T00:00:00.999Z"]), []);
    }

    #[test]
    fn another_agent_is_told_by_its_name_in_any_case() {
        assert!(asked().is_another("00000000-0000-0000-0000-00000000000a"));
        for text in ["00000000-0000-0000-0000-000000000005", "agent five", ""] {
            assert!(!asked().is_another(text), "{text}");
        }
        assert_eq!(asked().misfits(None, true, &[]), [Misfit::Agent]);
    }

    #[test]
    fn a_habit_is_looked_at_again_after_a_while() {
        let (habits, now) = (Habits::default(), Instant::now());
        assert!(habits.explain(&[], now) && !habits.explain(&[Misfit::Number], now));
        habits.learn(vec![Misfit::Number], now);
        assert!(habits.explain(&[Misfit::Number], now));
        assert!(!habits.explain(&[Misfit::Number, Misfit::Agent], now));
        assert!(!habits.explain(&[Misfit::Number], now + HOLDS_FOR));
    }
}
