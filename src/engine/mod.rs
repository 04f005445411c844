//! What is known, what to read, and how an answer is put together.

mod answer;
mod error;
mod question;

use std::time::Duration;

pub use answer::{CacheReport, Collected, Freshness, Missing, StaleReason, Verdict};
pub use error::AskError;
pub use question::{Pace, Question, Tolerance, Wish};

use bytes::Bytes;

use crate::domain::{AgentId, Credential, EntrySlice, Timestamp};
use crate::source::Trace;

/// What the engine is told at start; see the settings of `serve` for each.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Pages in flight for one answer.
    pub fan_out: usize,
    /// The widest span asked of upstream; none for an upstream that takes no dates.
    pub window: Option<Duration>,
    /// Where history begines when the agent's own `created_at` can't be had.
    pub history_start: Option<Timestamp>,
    /// How old a row that may change any moment may get.
    pub live_ttl: Duration,
    /// How old a row that was terminal lately may get.
    pub settling_ttl: Duration,
    /// How old a row that has come to rest should get.
    pub settled_ttl: Duration,
    /// How long after its last change a terminal row has come to rest.
    pub settle_after: Duration,
    /// How late upstream may show a row after its `created_at`.
    pub commit_lag: Duration,
    /// How long past its freshness an answer may be given while it is renewed behind it.
    pub stale_while_revalidate: Duration,
    /// How long past its freshness an answer may be given while upstream fails.
    pub stale_if_error: Duration,
}

/// Answers questions.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Begins an answer.
    ///
    /// Returns once the first rows are there, or it is certain that there are none, so that a refusal can still be
    /// a status.
    ///
    /// # Errors
    /// All of [`AskError`] but `TooLarge`.
    pub async fn ask(&self, _question: Question) -> Result<Answer, AskError> {
        Err(AskError::NotCached)
    }

    /// One page for the query string that a client wrote, byte for byte, kept for the freshness of its least settled
    /// row under `canonical_query`.
    ///
    /// # Errors
    /// [`AskError::Source`], [`AskError::NotCached`], [`AskError::NotReady`], [`AskError::ShuttingDown`].
    pub async fn relay(&self, _question: RelayQuestion) -> Result<Relayed, AskError> {
        Err(AskError::NotCached)
    }

    /// Forgets all that is kept of an agent, under every credential.
    pub fn forget(&self, _agent: AgentId) {}
}

/// A question for one page of upstream's own.
#[derive(Clone, Debug)]
pub struct RelayQuestion {
    /// With which credential upstream is asked.
    pub credential: Credential,
    /// Whose executions.
    pub agent: AgentId,
    /// The query string that goes upstream, as the caller wrote it.
    pub query: String,
    /// The same in canonical form: what the page is kept under.
    pub canonical_query: String,
    /// What the caller wishes of the cache.
    pub wish: Wish,
    /// When the page must be there.
    pub deadline: tokio::time::Instant,
    /// The caller's trace.
    pub trace: Trace,
}

/// A page of upstream's own.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The body, byte for byte.
    pub body: Bytes,
    /// How old it is.
    pub freshness: Freshness,
    /// How it was come by.
    pub report: CacheReport,
}

/// An answer under way.
///
/// Dropping it ends its own reads at their next page; those that others wait for go on.
#[derive(Debug)]
pub struct Answer {}

impl Answer {
    /// The verdict, if it is certain before any row is taken: everything was known when the question came.
    pub fn foregone(&self) -> Option<&Verdict> {
        None
    }

    /// The next rows, newest first; none at the end.
    ///
    /// # Errors
    /// As [`Engine::ask`]. After an error nothing more comes.
    pub async fn next(&mut self) -> Result<Option<EntrySlice>, AskError> {
        Ok(None)
    }

    /// What the answer says of itself. Of the whole answer once [`next`](Self::next) gave none, of what was given
    /// so far before.
    pub fn verdict(&self) -> Verdict {
        unreachable!()
    }

    /// Takes all rows.
    ///
    /// # Errors
    /// As [`Engine::ask`], and [`AskError::TooLarge`] as soon as the rows exceed `max_bytes`.
    pub async fn collect(self, _max_bytes: u64) -> Result<Collected, AskError> {
        Err(AskError::NotCached)
    }
}
