//! The history of the list, and how old the rows of an answer may be.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::ModelAsking;
use super::steps::{Case, ClockAhead, Kept};
use crate::engine::EngineSettings;
use crate::engine::tests::script::{Compare, Fact};
use crate::engine::tests::{DAY, Duration, Timestamp};

/// A version of a row, and when it was replaced.
#[derive(Clone, Debug)]
pub(super) struct Past {
    fact: Fact,
    until: Option<Timestamp>,
}

/// All versions of all rows, by id.
#[derive(Default)]
pub(super) struct Chronicle(HashMap<String, Vec<Past>>);

impl Chronicle {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records what changed since the last call.
    pub(super) fn note(&mut self, rows: &[Fact], now: Timestamp) {
        let there: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        for (id, past) in &mut self.0 {
            if let Some(last) =
                past.last_mut().filter(|last| last.until.is_none() && !there.contains(id.as_str()))
            {
                last.until = Some(now);
            }
        }
        for row in rows {
            let past = self.0.entry(row.id.clone()).or_default();
            if let Some(last) = past.last_mut() {
                if last.fact == *row {
                    continue;
                }
                last.until = Some(now);
            }
            past.push(Past { fact: row.clone(), until: None });
        }
    }

    /// Checks an answer against the history.
    pub(super) fn check(
        &self,
        asking: &ModelAsking,
        rows: &[(String, u32)],
        settings: &EngineSettings,
        case: &Case,
    ) -> Result<(), TestCaseError> {
        let (question, now) = (&asking.question, asking.at);
        let mut given: HashMap<&str, u32> = HashMap::new();
        for (id, version) in rows {
            prop_assert!(given.insert(id, *version).is_none(), "{id} comes twice");
        }
        let facts = rows.iter().map(|(id, _)| &self.0[id][0].fact);
        let order: Vec<Timestamp> = facts.filter(|fact| fact.is_dated).map(|fact| fact.created_at).collect();
        prop_assert!(order.is_sorted_by_key(|at| Reverse(*at)), "newest first");
        // With a limit, rows older than the last are not promised, nor which rows of its instant are
        // included.
        let wanted = question.newest.map(|newest| newest.take as usize);
        prop_assert!(wanted.is_none_or(|wanted| rows.len() <= wanted));
        let is_cut = wanted == Some(rows.len());
        let ages = Ages::of(asking, settings);
        let twins = self.twins(case);
        for (id, past) in &self.0 {
            let created_at = past[0].fact.created_at;
            // A row without a date may be on either side of an end of the span.
            let has_ends = question.from.is_some() || question.to.is_some() || question.newest.is_some();
            if !past[0].fact.is_dated && has_ends {
                continue;
            }
            if question.from.is_some_and(|from| created_at < from)
                || question.to.is_some_and(|to| created_at > to)
            {
                prop_assert!(!given.contains_key(id.as_str()), "{id} is outside");
                continue;
            }
            let is_allowed = |version: &Past| {
                let age = ages.of_version(asking, version, created_at);
                version.until.is_none_or(|until| until.plus(age) >= now)
            };
            if let Some(version) = given.get(id.as_str()) {
                let mut versions = past.iter().filter(|past| past.fact.version == *version);
                // What another process just read may replace a row that was fresh enough when the answer was planned.
                let is_newer_than_allowed = case.kept == Kept::Shared
                    && past.iter().any(|past| past.fact.version < *version && is_allowed(past));
                let is_right =
                    |past: &Past| asking.fits(&past.fact) && (is_allowed(past) || is_newer_than_allowed);
                if !versions.clone().any(|past| asking.fits(&past.fact)) {
                    return Err(TestCaseError::fail(format!("{id} never had version {version}: {past:?}")));
                }
                prop_assert!(
                    versions.any(is_right),
                    "{id} is too old in version {version}: {past:?} at {now}"
                );
            } else {
                let shown_at = past[0].fact.shown_at.max(created_at);
                let is_new = case.ahead.ours(shown_at).plus(ages.live) >= now;
                let was_elsewhere = past.iter().any(|past| !asking.fits(&past.fact) && is_allowed(past));
                let is_gone = past.last().is_some_and(|last| last.until.is_some());
                let may_be_lost = twins.contains(&created_at)
                    || is_cut && order.last().is_none_or(|last| created_at <= *last);
                prop_assert!(
                    is_new || was_elsewhere || is_gone || may_be_lost,
                    "{id} is missing: {past:?} at {now}"
                );
            }
        }
        Ok(())
    }
}

impl Chronicle {
    /// The instants of several rows, if upstream ignores dates. If two such rows change places across a page
    /// boundary while a row is added below, the list looks as if it had grown at its head, and no request for
    /// that instant can detect it.
    fn twins(&self, case: &Case) -> HashSet<Timestamp> {
        let mut seen = HashSet::new();
        let instants = self.0.values().map(|past| past[0].fact.created_at);
        instants.filter(|at| case.compare == Compare::Ignored && !seen.insert(*at)).collect()
    }
}

impl ClockAhead {
    /// When upstream's clock showed this, by our clock. If the difference is unknown, when our clock shows
    /// the same, if that is later: rows with later dates are not requested.
    fn ours(self, upstream: Timestamp) -> Timestamp {
        match self {
            Self::Learned(ms) => Timestamp::from_micros(upstream.as_micros() - ms * 1_000),
            Self::Unknown(ms) => Timestamp::from_micros(upstream.as_micros() - ms.min(0) * 1_000),
        }
    }
}

/// How old rows may be, for one question.
struct Ages {
    live: Duration,
    settling: Duration,
    settled: Duration,
    settle_after: Duration,
}

impl Ages {
    fn of(asking: &ModelAsking, settings: &EngineSettings) -> Self {
        let directives = &asking.question.directives;
        let lowered = |ttl: Duration| {
            directives.max_age.map_or(ttl, |most| ttl.min(most)) + directives.max_stale.unwrap_or_default()
        };
        Self {
            live: lowered(settings.live_ttl),
            settling: lowered(settings.settling_ttl),
            settled: 2 * settings.settled_ttl + directives.max_stale.unwrap_or_default(),
            settle_after: settings.settle_after,
        }
    }

    /// By the state of the row in that version; with a filter on changing facts, also by its place.
    fn of_version(&self, asking: &ModelAsking, version: &Past, created_at: Timestamp) -> Duration {
        let fact = &version.fact;
        let by_row = if matches!(fact.status.as_str(), "completed" | "no-answer" | "failed") {
            let is_settled = asking.at.since(fact.updated_at) > self.settle_after;
            if is_settled { self.settled } else { self.settling }
        } else {
            // It was last read before it was replaced.
            let unchanged = version.until.unwrap_or(asking.at).since(fact.updated_at);
            self.live.max(unchanged / 20).min(self.settling.max(self.live))
        };
        let by_place = match asking.at.since(created_at) {
            age if age <= self.settle_after => self.live,
            age if age <= 7 * DAY => self.settling,
            _ => self.settled,
        };
        match asking.question.filters.can_change() || asking.question.any_status.is_some() {
            false => by_row,
            true if asking.fits(fact) => by_place.min(by_row),
            true => by_place,
        }
    }
}
