//! A scripted upstream: a plain list that follows upstream's contract without a socket, with settings for
//! deviations.

pub(super) use super::script_failures::{unavailable, words};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::bent::Bent;
use super::is_asked_for;
pub(super) use super::quirks::{Compare, Fact, Listed, Quirks, ScriptTotals};
use crate::domain::{
    AgentId, FilterFacts, Filters, MAX_PAGE_SIZE, Page, PageOf, Row, Span, Status, Timestamp,
};
use crate::engine::{Clock, Question};
use crate::source::SourceError;

type Hook = Box<dyn FnMut(&mut World, Timestamp) + Send>;
/// Divides a list into pages, given its rows, the requested page, and the number of all rows.
pub(super) type Pager = Box<dyn FnMut(&[Row], PageOf, u64) -> Page + Send>;
type ScriptRefusal = Box<dyn FnMut(u64) -> Option<SourceError> + Send>;

pub(super) struct World {
    pub(super) rows: Vec<Fact>,
    pub(super) quirks: Quirks,
    /// Called before every page.
    pub(super) before_page: Option<Hook>,
    /// Replaces the pages that upstream's contract describes.
    pub(super) pager: Option<Pager>,
    /// Which pages fail, by the number of the request.
    pub(super) refuse: Option<ScriptRefusal>,
    pub(super) agent_refused: Option<u16>,
    /// The next page with this number is empty and says that it is the last one.
    pub(super) emptied: Option<u32>,
    /// The next page with this number is empty and says that more follow.
    pub(super) hollow: Option<u32>,
    /// When the agent was created; by default, when its oldest row was.
    pub(super) born: Option<Timestamp>,
    /// The agents that the key's list names.
    pub(super) listed: Vec<AgentId>,
    /// The status with which the list of agents is refused.
    pub(super) list_refused: Option<u16>,
    /// How often the list of agents was requested.
    pub(super) lists: usize,
    pub(super) asked: Vec<(Filters, PageOf)>,
    /// The keys with which pages were requested.
    pub(super) keys: Vec<String>,
    pub(super) checks: usize,
    /// The status with which the key is refused as a whole.
    pub(super) user_refused: Option<u16>,
    /// How often the user was requested.
    pub(super) user_checks: usize,
    /// The only agent to which [`Self::agent_refused`] applies.
    pub(super) refuses_only: Option<AgentId>,
    pub(super) most_in_flight: usize,
    /// How long it takes until the budget has room for another request.
    pub(super) a_request_takes: Duration,
    totals: HashMap<String, (u64, Timestamp)>,
    pub(super) in_flight: usize,
    pub(super) answered: u64,
    next_id: u64,
    rng: StdRng,
}

pub(super) struct Script {
    world: Mutex<World>,
    clock: Clock,
    pub(super) latency: Duration,
    pub(super) held: AtomicBool,
    ahead: AtomicI64,
    /// Whether the budget is nearly used up.
    pub(super) is_short: AtomicBool,
    pub(super) bent: Bent,
}

impl Script {
    pub(super) fn new(clock: Clock, seed: u64, bent: Bent) -> Self {
        let quirks = Quirks {
            totals: ScriptTotals::Exact,
            compare: Compare::Exact,
            listed: Listed::NewestFirst,
            ahead: 0,
            jitter: Duration::ZERO,
        };
        let world = World {
            rows: Vec::new(),
            quirks,
            before_page: None,
            pager: None,
            refuse: None,
            agent_refused: None,
            emptied: None,
            hollow: None,
            born: None,
            listed: Vec::new(),
            list_refused: None,
            lists: 0,
            asked: Vec::new(),
            keys: Vec::new(),
            checks: 0,
            user_refused: None,
            user_checks: 0,
            refuses_only: None,
            most_in_flight: 0,
            a_request_takes: Duration::ZERO,
            totals: HashMap::new(),
            in_flight: 0,
            answered: 0,
            next_id: 0,
            rng: StdRng::seed_from_u64(seed),
        };
        let (held, ahead) = (AtomicBool::new(false), AtomicI64::new(0));
        let is_short = AtomicBool::new(false);
        let latency = Duration::from_millis(20);
        Self { world: Mutex::new(world), clock, latency, held, ahead, is_short, bent }
    }

    /// How far upstream's clock is ahead, as far as the engine knows.
    pub(super) fn learned_ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Upstream's own time.
    pub(super) fn now(&self) -> Timestamp {
        let ahead = self.world().quirks.ahead;
        Timestamp::from_micros(self.clock.now().as_micros() + ahead)
    }

    /// Tells the engine how far upstream's clock is ahead, as the `Date` of a response would.
    pub(super) fn learn_clock(&self) {
        self.ahead.store(self.world().quirks.ahead, Ordering::Relaxed);
    }
}

impl World {
    /// Adds an execution, listed at once.
    pub(super) fn insert(&mut self, created_at: Timestamp, status: &str) -> usize {
        self.next_id += 1;
        self.rows.push(Fact {
            id: format!("row-{:06}", self.next_id),
            created_at,
            updated_at: created_at,
            status: status.to_owned(),
            version: 0,
            voice_mail: false,
            provider: None,
            shown_at: Timestamp::MIN,
            is_dated: true,
        });
        self.rows.len() - 1
    }

    /// Changes an execution's status.
    pub(super) fn change(&mut self, row: usize, status: &str, now: Timestamp) {
        let row = &mut self.rows[row];
        status.clone_into(&mut row.status);
        row.updated_at = now;
        row.version += 1;
    }

    /// The rows that upstream would list now, newest first.
    pub(super) fn truth(&self, question: &Question, span: Span, now: Timestamp) -> Vec<(String, u32)> {
        let is_meant =
            |row: &&Fact| row.shown_at <= now && span.contains(row.created_at) && is_asked_for(question, row);
        let mut rows: Vec<&Fact> = self.rows.iter().filter(is_meant).collect();
        rows.sort_by_key(|row| (Reverse(row.created_at), row.id.clone()));
        rows.iter().map(|row| (row.id.clone(), row.version)).collect()
    }

    pub(super) fn page(&mut self, filters: &Filters, of: PageOf, now: Timestamp) -> Page {
        let quirks = self.quirks;
        let is_within = |at: Timestamp| match quirks.compare {
            Compare::Exact => of.span.contains(at),
            Compare::RowsAtSeconds => of.span.contains(at.floor_second()),
            Compare::Ignored => true,
        };
        let is_listed =
            |row: &&Fact| row.shown_at <= now && is_within(row.created_at) && matches(filters, row);
        let mut rows: Vec<&Fact> = self.rows.iter().filter(is_listed).collect();
        // The order of rows of the same instant changes with every request.
        rows.shuffle(&mut self.rng);
        match quirks.listed {
            Listed::NewestFirst => rows.sort_by_key(|row| Reverse(row.created_at)),
            Listed::OldestFirst => rows.sort_by_key(|row| row.created_at),
            Listed::ByUpdate => rows.sort_by_key(|row| Reverse(row.updated_at)),
        }
        if let Some(mut pager) = self.pager.take() {
            let listed: Vec<Row> = rows.iter().copied().map(row).collect();
            let page = pager(&listed, of, self.rows.len() as u64);
            self.pager = Some(pager);
            return page;
        }
        let total = match quirks.totals {
            ScriptTotals::Exact => Some(rows.len() as u64),
            ScriptTotals::Missing => None,
            ScriptTotals::OfEverything => Some(self.rows.len() as u64),
            ScriptTotals::Off(by) => Some((rows.len() as i64 + by).max(0) as u64),
            ScriptTotals::Frozen => {
                let kept = self.totals.entry(format!("{filters:?} {:?}", of.span));
                let kept = kept.or_insert((rows.len() as u64, now));
                if now.since(kept.1) > Duration::from_secs(5) {
                    *kept = (rows.len() as u64, now);
                }
                Some(kept.0)
            }
            ScriptTotals::Unsteady => Some((rows.len() + self.rng.random_range(0..8) / 6) as u64),
        };
        if self.hollow == Some(of.number) {
            self.hollow = None;
            return Page { rows: Vec::new(), has_more: true, has_flag: true, total };
        }
        if self.emptied == Some(of.number) {
            self.emptied = None;
            return Page { rows: Vec::new(), has_more: false, has_flag: true, total };
        }
        let size = (of.size as usize).min(MAX_PAGE_SIZE);
        let start = (of.number as usize - 1) * size;
        let has_more = rows.len() > start + size;
        let rows = rows.into_iter().skip(start).take(size).map(row).collect();
        Page { rows, has_more, has_flag: true, total }
    }

    pub(super) fn jitter(&mut self) -> Duration {
        match self.quirks.jitter.as_millis() as usize {
            0 => Duration::ZERO,
            most => Duration::from_millis(self.random(most + 1) as u64),
        }
    }

    pub(super) fn random(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below.max(1))
    }
}

pub(super) fn matches(filters: &Filters, row: &Fact) -> bool {
    filters.status.as_ref().is_none_or(|status| status.as_str() == row.status)
        && filters.answered_by_voice_mail.is_none_or(|answered| answered == row.voice_mail)
        && filters.provider.as_ref().is_none_or(|asked| row.provider.is_none_or(|own| own == asked.as_str()))
}

pub(super) fn row_bytes(id: &str, version: u32, status: &str) -> String {
    format!(r#"{{"id":"{id}","version":{version},"status":"{status}"}}"#)
}

fn row(fact: &Fact) -> Row {
    Row {
        bytes: row_bytes(&fact.id, fact.version, &fact.status).into(),
        id: fact.id.as_str().into(),
        created_at: Some(fact.created_at).filter(|_| fact.is_dated),
        updated_at: Some(fact.updated_at),
        facts: FilterFacts {
            answered_by_voice_mail: Some(fact.voice_mail),
            provider: fact.provider.map(Into::into),
            ..FilterFacts::default()
        },
        status: Some(Status::new(&fact.status)),
    }
}
