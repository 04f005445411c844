//! Upstream over HTTP: returns pages as [`Source`] promises them, behind the gate.
//!
//! The [`gate`] gives a request its turn, [`client`] makes one attempt, [`page`] parses the response, and
//! after a failure [`retry`] says whether another attempt follows. Each of these decides alone and is tested
//! alone; this file connects them. What is learned on the way goes back: to the gate (429, timeouts,
//! failures), to the [`clock`] (`Date`), and to the list of keys that upstream has accepted, which decides
//! how much of the budget a key may use.
//!
//! Retries happen here and nowhere else. Redirects are not followed, so that only upstream gets the
//! credential.

mod accepted;
mod ask;
mod budget_memory;
mod client;
mod clock;
mod depth;
mod error_body;
mod exchange;
mod failures;
pub mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod gate;
mod mismatch;
mod page;
mod query;
mod retry;
mod retry_after;
mod settings;
mod stats;
mod status_class;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use reqwest::Url;
use tokio::time::{Instant, sleep};

use crate::clock::SteadyClock;
use crate::domain::{AgentFacts, AgentId, Caller, CallerId, Credential, CredentialId, Page, PageOf};
use crate::source::{
    Deadline, Headroom, RelayedPage, RequestContext, Source, SourceError, SourceFuture, SourceOutlook,
    Subject, Urgency,
};
use crate::telemetry::{RequestSpanStart, RequestWatch, UpstreamReadings};
use crate::tier::RequestTimes;

use accepted::Accepted;
use ask::{About, Ask};
use budget_memory::BudgetMemory;
use client::HttpClient;
use exchange::Exchanger;
use failures::{AttemptFailure, rejected, with_words, words_of};
use gate::{Applicant, Gate, KeyAcceptance, PassRequest};
use mismatch::{Attempt, Author, Compared, Expectation, Judgment, Observed};
pub use page::{PageFault, parse as parse_page};
use retry::{Cause, RetryBudget, RetryLimits, Tries};
pub use settings::{
    BaseUrl, DateParams, Fraction, PlainHttp, Rate, RateScope, UpstreamSettings, UpstreamSetupError,
    is_loopback,
};
use stats::Counters;

/// From this size on, a body is parsed where blocking is allowed, so that it does not delay other work on a
/// worker. 64 KiB take some 30 µs.
const LARGE: usize = 64 << 10;

/// Upstream's paths, as spans name them.
const PAGES: &str = "/v2/agent/{agent_id}/executions";
const AGENT: &str = "/v2/agent/{agent_id}";
const AGENTS: &str = "/v2/agent/all";
const USER: &str = "/user/me";

/// Upstream over HTTP.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    exchanger: Exchanger,
    gate: Gate,
    observed: Observed,
    retries: Mutex<RetryBudget>,
    /// The latest failure, for the error that says that upstream is down.
    last_fault: Mutex<String>,
    watch: RequestWatch,
    memory: BudgetMemory,
}

impl Upstream {
    /// Sets up the client and the gate. Sends nothing yet. `watch` observes every request. Upstream's clock
    /// is compared with `clock`, which must be the clock with which the caller measures ages. The time of
    /// each request is recorded in `times`, and the requests of other processes that it names count against
    /// the budget.
    ///
    /// # Errors
    /// [`UpstreamSetupError::Ca`], [`UpstreamSetupError::Client`].
    pub fn new(
        settings: UpstreamSettings,
        watch: RequestWatch,
        clock: SteadyClock,
        times: Option<Arc<dyn RequestTimes>>,
    ) -> Result<Arc<Self>, UpstreamSetupError> {
        Ok(Arc::new(Self {
            exchanger: Exchanger {
                client: Arc::new(HttpClient::new(&settings, clock.clone())?),
                attempt_timeout: settings.attempt_timeout,
                accepted: Accepted::new(),
                clock: Mutex::default(),
                counters: Counters::default(),
            },
            gate: Gate::new(&settings),
            observed: Observed::default(),
            retries: Mutex::new(RetryBudget::new(Instant::now())),
            last_fault: Mutex::default(),
            watch,
            settings,
            memory: BudgetMemory { times, clock },
        }))
    }

    /// The requests so far, and the state of the gate.
    pub fn readings(&self) -> UpstreamReadings {
        self.memory.count_others(&self.gate);
        self.exchanger.counters.readings(self.gate.readings())
    }

    /// Makes attempts until `read` can parse a response, or no attempt is left.
    async fn ask<T, F>(&self, ask: Ask<'_>, read: F) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: Fn(Bytes) -> Result<Compared<T>, page::PageFault> + Clone + Send + 'static,
    {
        let mut tries = Tries::default();
        let (mut said, since) = (None, Instant::now());
        loop {
            let AttemptFailure { error, cause } =
                match self.attempt(&ask, since, &mut tries, read.clone()).await {
                    Ok(answer) => {
                        self.retries.lock().deposit();
                        return Ok(answer);
                    }
                    Err(failure) => failure,
                };
            let deadline = ask.context.deadline.as_ref().map(Deadline::instant);
            let now = Instant::now();
            let limits = RetryLimits {
                retry_for: ask.context.retry_for,
                until_deadline: deadline.map(|d| d.saturating_duration_since(now)),
            };
            let next = {
                let mut budget = self.retries.lock();
                tries.next(cause, limits, &mut budget, now, rand::random())
            };
            let Some(wait) = next else { return Err(with_words(error, said)) };
            said = words_of(error).or(said);
            Counters::add(&self.exchanger.counters.retries, 1);
            tries.spent += wait;
            sleep(wait).await;
        }
    }

    /// Makes one attempt: waits for a turn, exchanges, and parses the response.
    async fn attempt<T, F>(
        &self,
        ask: &Ask<'_>,
        since: Instant,
        tries: &mut Tries,
        read: F,
    ) -> Result<T, AttemptFailure>
    where
        T: Send + 'static,
        F: Fn(Bytes) -> Result<Compared<T>, page::PageFault> + Send + 'static,
    {
        let credential = ask.credential.id();
        let standing = self.standing(credential, ask.context.caller);
        let asker =
            PassRequest { credential, agent: ask.about.agent(), standing, since, context: ask.context };
        ask.context.sent.mark_waiting();
        let lined_up = Instant::now();
        let pass = match self.memory.enter(&self.gate, asker).await {
            Ok(pass) => pass,
            Err(refusal) => {
                Counters::add(&self.exchanger.counters.rejected, 1);
                return Err(rejected(refusal, || self.last_fault.lock().clone()));
            }
        };
        ask.context.sent.mark_sent();
        let _goes = ask.context.budget_clock.go();
        let began = Instant::now();
        let request = self.watch.begin(self.asked(ask, tries), began - lined_up);
        let exchanged = self.exchanger.exchange(ask, pass, tries, request).await;
        tries.spent += began.elapsed();
        let (body, pool) = exchanged.inspect_err(|failure| {
            self.note_fault(failure);
            self.memory.tell(&self.gate, credential, &failure.cause);
        })?;
        Counters::add(&self.exchanger.counters.body_bytes, body.len());
        let malformed = |detail, cause| {
            Counters::add(&self.exchanger.counters.malformed, 1);
            AttemptFailure { error: SourceError::Malformed { detail }, cause }
        };
        let Compared { response, mismatches } =
            read_off_worker(body, read).await.map_err(|detail| malformed(detail, Cause::Malformed))?;
        let attempt = if tries.had_mismatch() { Attempt::Second } else { Attempt::First };
        match self.observed.judge(&mismatches, ask.author, attempt, Instant::now()) {
            Judgment::Accept => Ok(response),
            Judgment::AskAgain => {
                self.leave(pool, ask.author).await;
                Err(malformed("a response to another request".to_owned(), Cause::Mismatch))
            }
            Judgment::Refuse => Err(malformed("a response about another agent".to_owned(), Cause::Final)),
        }
    }

    /// Abandons the connections that a mismatched response came from, and prepares a new one for the second
    /// attempt.
    ///
    /// A caller's query may itself be the reason for the mismatch, so the shared connections stay open for
    /// one.
    async fn leave(&self, pool: client::Pool, author: Author) {
        let client = Arc::clone(&self.exchanger.client);
        let blocking = move || match author {
            Author::Gateway => client.leave(pool),
            Author::Caller => client.prepare_alone(),
        };
        // Fails only if the runtime ends.
        let _left = tokio::task::spawn_blocking(blocking).await;
    }

    /// Whether a caller is known: upstream accepted the key, or the gateway checked the token.
    fn standing(&self, credential: CredentialId, caller: Caller) -> KeyAcceptance {
        match caller.id {
            CallerId::Token(_) => KeyAcceptance::Accepted,
            CallerId::Key(_) => self.exchanger.accepted.standing(credential),
        }
    }

    fn applicant(&self, credential: CredentialId, caller: Caller) -> Applicant {
        Applicant { credential, caller, standing: self.standing(credential, caller) }
    }

    /// Remembers why a request failed.
    fn note_fault(&self, failure: &AttemptFailure) {
        if let Cause::Transient(_) | Cause::IdleConnection = failure.cause {
            *self.last_fault.lock() = if let SourceError::Unavailable { detail, .. } = &failure.error {
                detail.clone()
            } else {
                failure.error.to_string()
            };
        }
    }

    /// The description of a request for the watch.
    fn asked<'a>(&'a self, ask: &'a Ask<'_>, tries: &Tries) -> RequestSpanStart<'a, AgentId> {
        RequestSpanStart {
            template: ask.template,
            server: self.settings.base_url.server(),
            agent: ask.about.agent(),
            resends: tries.made(),
            parent: &ask.context.trace,
        }
    }

    fn agent_url(&self, agent: AgentId, rest: &[&str], query: &str) -> Url {
        let agent = agent.to_string();
        let mut url = self.settings.base_url.join(&[&["v2", "agent", &agent], rest].concat());
        url.set_query((!query.is_empty()).then_some(query));
        url
    }
}

impl Source for Upstream {
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Page> {
        let query = query::of_page(&subject.filters, page, self.settings.dates);
        let url = self.agent_url(subject.agent, &["executions"], &query);
        let Subject { credential, agent, .. } = subject;
        let (about, author) = (About::Agent(*agent), Author::Gateway);
        let ask = Ask { url, template: PAGES, credential, about, context, author };
        // Rows are slices of the body, which is freed once they are stored elsewhere.
        let pages = self.exchanger.counters.pages.clone();
        let span = (self.settings.dates == DateParams::Sent).then_some(page.span);
        let asked = Expectation {
            agent: Some(subject.agent),
            number: Some(page.number),
            size: Some(page.size),
            span,
        };
        self.ask(ask, move |body| page::compared(&pages.count(body), &asked)).boxed()
    }

    fn agent<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, AgentFacts> {
        let (url, about) = (self.agent_url(agent, &[], ""), About::Agent(agent));
        let ask = Ask { url, template: AGENT, credential, about, context, author: Author::Gateway };
        let asked = Expectation { agent: Some(agent), ..Expectation::default() };
        self.ask(ask, move |body| page::parse_agent(&body, &asked)).boxed()
    }

    fn agents<'a>(
        &'a self,
        credential: &'a Credential,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Vec<(AgentId, AgentFacts)>> {
        let url = self.settings.base_url.join(&["v2", "agent", "all"]);
        let about = About::Agents;
        let ask = Ask { url, template: AGENTS, credential, about, context, author: Author::Gateway };
        self.ask(ask, |body| page::parse_agents(&body)).boxed()
    }

    fn user<'a>(&'a self, credential: &'a Credential, context: &'a RequestContext) -> SourceFuture<'a, ()> {
        let url = self.settings.base_url.join(&["user", "me"]);
        let ask =
            Ask { url, template: USER, credential, about: About::Key, context, author: Author::Gateway };
        self.ask(ask, |body| page::parse_user(&body)).boxed()
    }

    fn relay<'a>(
        &'a self,
        credential: &'a Credential,
        agent: AgentId,
        query: &'a str,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, RelayedPage> {
        let url = self.agent_url(agent, &["executions"], query);
        let about = About::Agent(agent);
        let ask = Ask { url, template: PAGES, credential, about, context, author: Author::Caller };
        let asked = query::asked(agent, query);
        self.ask(ask, move |body| page::relay(body, &asked)).boxed()
    }

    fn room(&self, credential: CredentialId, caller: Caller) -> Headroom {
        self.gate.room(self.applicant(credential, caller))
    }

    fn room_for(
        &self,
        credential: CredentialId,
        caller: Caller,
        urgency: Urgency,
        requests: u64,
    ) -> Duration {
        let requests = usize::try_from(requests).unwrap_or(usize::MAX);
        self.gate.room_for(self.applicant(credential, caller), urgency, requests)
    }

    fn may_send_ahead(&self, credential: CredentialId, caller: Caller) -> bool {
        self.is_known(credential, caller) || self.gate.has_room_to_prove(credential)
    }

    fn is_known(&self, credential: CredentialId, caller: Caller) -> bool {
        self.standing(credential, caller) == KeyAcceptance::Accepted
    }

    fn outlook(&self, credential: CredentialId, caller: Caller) -> SourceOutlook {
        self.memory.count_others(&self.gate);
        self.gate.outlook(self.applicant(credential, caller))
    }

    fn clock_ahead_micros(&self) -> i64 {
        self.exchanger.clock_ahead_micros()
    }
}

/// Parses a body; a large one where blocking is allowed.
async fn read_off_worker<T, F>(body: Bytes, read: F) -> Result<Compared<T>, page::PageFault>
where
    T: Send + 'static,
    F: Fn(Bytes) -> Result<Compared<T>, page::PageFault> + Send + 'static,
{
    if body.len() < LARGE {
        return read(body);
    }
    match tokio::task::spawn_blocking(move || read(body)).await {
        Ok(result) => result,
        Err(_) => Err("parsing it was interrupted".to_owned()),
    }
}

#[cfg(test)]
mod tests;
