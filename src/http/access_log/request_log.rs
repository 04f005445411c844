use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::AgentId;
use crate::engine::{CacheReport, Verdict};
use crate::http::problem::{Code, Problem};
use crate::http::question::Format;
use crate::telemetry::Trace;

/// What handlers record about a request, for its log line.
#[derive(Debug)]
pub(in crate::http) struct RequestLog {
    /// The caller's own request id, or a new one.
    pub(in crate::http) request_id: Arc<str>,
    /// The trace that requests to upstream belong to.
    pub(in crate::http) trace: Trace,
    pub(super) began: Instant,
    pub(super) notes: Mutex<Notes>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) agent: Option<AgentId>,
    pub(super) client: Option<Arc<str>>,
    pub(super) format: Option<Format>,
    pub(super) first_row: Option<Duration>,
    pub(super) rows: u64,
    pub(super) report: Option<CacheReport>,
    pub(super) missing_parts: u64,
    pub(super) problem: Option<NotedProblem>,
}

/// What the log says about a problem.
#[derive(Clone, Debug)]
pub(super) struct NotedProblem {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) upstream_status: Option<u16>,
}

impl RequestLog {
    /// Starts the log of a request that arrives now.
    pub(in crate::http) fn open(request_id: Arc<str>, trace: Trace) -> Self {
        Self { request_id, trace, began: Instant::now(), notes: Mutex::default() }
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.notes.lock());
    }

    /// Records the agent.
    pub(in crate::http) fn note_agent(&self, agent: AgentId) {
        self.note(|notes| notes.agent = Some(agent));
    }

    /// Records the name of the caller's token.
    pub(in crate::http) fn note_client(&self, name: Option<Arc<str>>) {
        self.note(|notes| notes.client = name);
    }

    /// Records the format of the response.
    pub(in crate::http) fn note_format(&self, format: Format) {
        self.note(|notes| notes.format = Some(format));
    }

    /// Adds rows that went into the body.
    pub(in crate::http) fn add_rows(&self, rows: u64) {
        let since = self.began.elapsed();
        self.note(|notes| {
            notes.rows += rows;
            notes.first_row = notes.first_row.or((rows > 0).then_some(since));
        });
    }

    /// Records the origin of the rows and the number of missing parts.
    pub(in crate::http) fn note_verdict(&self, verdict: &Verdict) {
        self.note(|notes| notes.missing_parts = verdict.missing.len() as u64);
        self.note_report(verdict.report);
    }

    /// Records the origin of the rows.
    pub(in crate::http) fn note_report(&self, report: CacheReport) {
        self.note(|notes| notes.report = Some(report));
    }

    /// Records the problem that replaced the rows or ended them early.
    pub(in crate::http) fn note_problem(&self, problem: &Problem) {
        let noted = NotedProblem {
            code: problem.code,
            reason: problem.reason(),
            upstream_status: problem.upstream.as_ref().map(|words| words.status),
        };
        self.note(|notes| notes.problem = Some(noted));
    }
}
