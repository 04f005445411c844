//! Checks whether upstream still accepts a credential, for an agent and as a whole.
//!
//! Nothing is served for a key that upstream has not accepted for that agent within [`TRUSTED_FOR`]. Every
//! page that it returns for the key counts; without any, one `GET /v2/agent/{id}` checks key and agent at
//! once. If a pair was accepted before, a refusal is believed only when a second request confirms it, because
//! a single 403 may be stray; a refusal of any other pair is believed at once.
//!
//! A refusal for one agent says nothing about others: upstream returns 403 both to a key that may not see an
//! agent and to a key that is wrong. `GET /user/me` distinguishes the two: only a key that it refuses is
//! refused as a whole.

mod by_list;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::standing::{KeyStanding, NOT_FOUND_FOR, PairStanding, REFUSED_FOR, remembered_for};
use super::agent_lists::AgentLists;
use super::single_flight::SingleFlight;
use super::terms::Clock;
use crate::domain::{AgentFacts, AgentId, Credential, CredentialId, Timestamp};
use crate::shutdown::Shutdown;
use crate::source::{Deadline, RequestContext, Source, SourceError, Urgency};

/// How long upstream's acceptance is valid.
const TRUSTED_FOR: Duration = Duration::from_mins(1);

/// How long a check waits for room in the budget if an earlier acceptance can be used instead.
const BUDGET_WAIT: Duration = Duration::from_secs(2);

/// How long a check for a running response waits for room in the budget, and for its response: at most until
/// the next check.
pub(super) const CHECKS_AGAIN_FOR: Duration = Duration::from_secs(50);

/// The most credential-agent pairs that are remembered.
const MAX_PAIRS: u64 = 65_536;

type Pair = (CredentialId, AgentId);

/// A caller that waits for a response does not join a check that waits for spare budget.
type CheckKey = (Pair, Urgency);

pub(super) struct Access {
    source: Arc<dyn Source>,
    clock: Clock,
    stale_if_error: Duration,
    standings: moka::sync::Cache<Pair, PairStanding>,
    keys: moka::sync::Cache<CredentialId, KeyStanding>,
    /// When a key last requested an agent that upstream does not know.
    not_found: moka::sync::Cache<CredentialId, Timestamp>,
    checks: SingleFlight<CheckKey, Result<AgentFacts, SourceError>>,
    key_checks: SingleFlight<CredentialId, Result<(), SourceError>>,
    pub(super) lists: AgentLists,
}

/// What is known about a pair without asking.
#[derive(Debug)]
pub(super) enum KnownAccess {
    /// Accepted within the last minute.
    Accepted(AgentFacts),
    /// Refused a moment ago.
    Refused(SourceError),
    /// Neither accepted nor refused recently.
    Unknown,
}

impl Access {
    pub(super) fn new(
        source: Arc<dyn Source>,
        clock: Clock,
        shutdown: Shutdown,
        stale_if_error: Duration,
    ) -> Self {
        let (standings, keys) = (moka::sync::Cache::new(MAX_PAIRS), moka::sync::Cache::new(MAX_PAIRS));
        let not_found = moka::sync::Cache::new(MAX_PAIRS);
        let lists = AgentLists::new(Arc::clone(&source), clock.clone(), shutdown.clone());
        let (checks, key_checks) = (SingleFlight::new(shutdown.clone()), SingleFlight::new(shutdown));
        Self { source, clock, stale_if_error, standings, keys, not_found, checks, key_checks, lists }
    }

    /// What is known about a pair.
    pub(super) fn known(&self, credential: CredentialId, agent: AgentId) -> KnownAccess {
        let now = self.clock.now();
        match self.standings.get(&(credential, agent)) {
            Some(PairStanding::Accepted { at, facts }) if now.since(at) <= TRUSTED_FOR => {
                KnownAccess::Accepted(facts)
            }
            Some(PairStanding::Refused { at, error, accepted_at })
                if now.since(at) <= remembered_for(&error, at, accepted_at) =>
            {
                KnownAccess::Refused(error)
            }
            Some(_) | None => match self.keys.get(&credential) {
                Some(KeyStanding::Refused { at, error }) if now.since(at) <= REFUSED_FOR => {
                    KnownAccess::Refused(error)
                }
                Some(
                    KeyStanding::Refused { .. } | KeyStanding::Good { .. } | KeyStanding::Inconclusive { .. },
                )
                | None => KnownAccess::Unknown,
            },
        }
    }

    /// Records that upstream returned a page to this credential.
    pub(super) fn accepted(&self, credential: CredentialId, agent: AgentId) {
        self.accepted_at(credential, agent, self.clock.now(), None);
    }

    /// Records that upstream returned a page to this credential at an instant, perhaps to another process, which knows the agent.
    pub(super) fn accepted_at(
        &self,
        credential: CredentialId,
        agent: AgentId,
        at: Timestamp,
        known_there: Option<AgentFacts>,
    ) {
        let facts = match self.standings.get(&(credential, agent)) {
            Some(PairStanding::Accepted { facts, at: before }) if before < at => Some(facts),
            Some(PairStanding::Accepted { .. } | PairStanding::Refused { .. }) => None,
            // A key that was refused as a whole is asked about here.
            None if matches!(self.keys.get(&credential), Some(KeyStanding::Refused { .. })) => None,
            None => known_there,
        };
        if let Some(facts) = facts {
            let at = at.min(self.clock.now());
            self.standings.insert((credential, agent), PairStanding::Accepted { at, facts });
            self.keys.insert(credential, KeyStanding::Good { at });
        }
    }

    /// What is known of an agent that a credential was accepted for.
    pub(super) fn facts(&self, credential: CredentialId, agent: AgentId) -> Option<AgentFacts> {
        match self.standings.get(&(credential, agent))? {
            PairStanding::Accepted { facts, .. } => Some(facts),
            PairStanding::Refused { .. } => None,
        }
    }

    /// Checks a pair with upstream. Concurrent checks of a pair share one request.
    ///
    /// # Errors
    /// A confirmed refusal. While upstream fails, a pair that was accepted within `stale-if-error` passes.
    pub(super) async fn check(
        &self,
        credential: &Credential,
        agent: AgentId,
        context: &RequestContext,
    ) -> Result<AgentFacts, SourceError> {
        let pair = (credential.id(), agent);
        let before = self.standings.get(&pair);
        let context = &self.patience(before.as_ref(), context);
        let mut answer = self.ask(credential, agent, context).await;
        let is_early =
            || context.deadline.as_ref().is_some_and(|deadline| deadline.instant() > Instant::now());
        if matches!(answer, Err(SourceError::TimedOut)) && is_early() {
            // The deadline that passed belonged to an earlier caller.
            answer = self.ask(credential, agent, context).await;
        }
        let error = match answer {
            Ok(facts) => return Ok(facts),
            Err(error) => error,
        };
        let accepted_at = before.as_ref().and_then(PairStanding::accepted_at);
        let error = match before {
            Some(PairStanding::Accepted { at, facts }) if !is_refusal(&error) => {
                let is_recent = self.clock.now().since(at) <= self.stale_if_error.max(TRUSTED_FOR);
                return if is_recent { Ok(facts) } else { Err(error) };
            }
            Some(PairStanding::Accepted { .. }) => match self.ask(credential, agent, context).await {
                Ok(facts) => return Ok(facts),
                Err(error) => error,
            },
            Some(PairStanding::Refused { .. }) | None => error,
        };
        if is_refusal(&error) {
            let at = self.clock.now();
            if matches!(error, SourceError::AgentNotFound(_)) {
                self.not_found.insert(pair.0, at);
                self.lists.outdated_by(pair, accepted_at);
            }
            self.standings.insert(pair, PairStanding::Refused { at, error: error.clone(), accepted_at });
        }
        if matches!(error, SourceError::Denied(_)) {
            self.check_key(credential, context).await;
        }
        Err(error)
    }

    /// How long the pair need not be checked again: the rest of the minute for which upstream's acceptance is
    /// valid.
    pub(super) fn trusted_for(&self, credential: CredentialId, agent: AgentId) -> Duration {
        match self.standings.get(&(credential, agent)) {
            Some(PairStanding::Accepted { at, .. }) => TRUSTED_FOR.saturating_sub(self.clock.now().since(at)),
            Some(PairStanding::Refused { .. }) | None => Duration::ZERO,
        }
    }

    /// Checks that the pair of a running response is still accepted, from spare budget and shared by all
    /// responses of the pair. Returns how long it need not be checked again. A failing upstream refuses
    /// nobody.
    ///
    /// # Errors
    /// A refusal, confirmed by a second request.
    pub(super) async fn check_again(
        &self,
        credential: &Credential,
        agent: AgentId,
        context: &RequestContext,
    ) -> Result<Duration, SourceError> {
        let trusted_for = self.trusted_for(credential.id(), agent);
        if !trusted_for.is_zero() {
            return Ok(trusted_for);
        }
        let context = RequestContext {
            urgency: Urgency::Renewal,
            deadline: Some(Deadline::at(Instant::now() + CHECKS_AGAIN_FOR)),
            budget_wait: Some(CHECKS_AGAIN_FOR),
            retry_for: Duration::ZERO,
            ..context.clone()
        };
        match self.check(credential, agent, &context).await {
            Err(error) if is_refusal(&error) => Err(error),
            Ok(_) | Err(_) => Ok(TRUSTED_FOR),
        }
    }

    /// A caller that can be answered without the check does not wait for retries.
    fn patience(&self, before: Option<&PairStanding>, context: &RequestContext) -> RequestContext {
        match before {
            _ if context.urgency == Urgency::Renewal => context.clone(),
            Some(PairStanding::Accepted { at, .. }) if self.clock.now().since(*at) <= self.stale_if_error => {
                hasty(context)
            }
            Some(PairStanding::Accepted { .. } | PairStanding::Refused { .. }) | None => context.clone(),
        }
    }

    /// Whether upstream ever accepted the pair.
    pub(super) fn was_accepted(&self, credential: CredentialId, agent: AgentId) -> bool {
        matches!(self.standings.get(&(credential, agent)), Some(PairStanding::Accepted { .. }))
    }

    /// Whether the key recently requested an agent that upstream does not know. The next agent may be made up
    /// as well.
    pub(super) fn asks_in_vain(&self, credential: CredentialId) -> bool {
        self.not_found.get(&credential).is_some_and(|at| self.clock.now().since(at) <= NOT_FOUND_FOR)
    }

    /// Whether the key is refused as a whole.
    pub(super) fn is_key_refused(&self, credential: CredentialId) -> bool {
        matches!(self.keys.get(&credential), Some(KeyStanding::Refused { .. }))
    }

    /// Finds out whether a key that was refused for an agent is refused as a whole, unless that is known.
    async fn check_key(&self, credential: &Credential, context: &RequestContext) {
        let is_recent = |at, length| self.clock.now().since(at) <= length;
        let was_good = match self.keys.get(&credential.id()) {
            Some(KeyStanding::Good { at } | KeyStanding::Inconclusive { at, .. })
                if is_recent(at, TRUSTED_FOR) =>
            {
                return;
            }
            Some(KeyStanding::Refused { at, .. }) if is_recent(at, REFUSED_FOR) => return,
            Some(KeyStanding::Good { .. }) => true,
            Some(KeyStanding::Inconclusive { .. } | KeyStanding::Refused { .. }) | None => false,
        };
        // The caller is answered either way, so it does not wait for retries. The result has been recorded.
        let _landed = self.ask_key(credential, &hasty(context), was_good).await;
    }

    /// Checks that upstream accepts the key as a whole: it did so within the last minute, or it is asked now.
    ///
    /// # Errors
    /// A refusal. While upstream fails, a key that was accepted within `stale-if-error` passes.
    pub(super) async fn prove_key(
        &self,
        credential: &Credential,
        context: &RequestContext,
    ) -> Result<(), SourceError> {
        let is_recent = |at, length| self.clock.now().since(at) <= length;
        let accepted_at = match self.keys.get(&credential.id()) {
            Some(KeyStanding::Good { at }) if is_recent(at, TRUSTED_FOR) => return Ok(()),
            Some(KeyStanding::Refused { at, error }) if is_recent(at, REFUSED_FOR) => return Err(error),
            Some(KeyStanding::Good { at }) => Some(at),
            Some(KeyStanding::Inconclusive { accepted_at, .. }) => accepted_at,
            Some(KeyStanding::Refused { .. }) | None => None,
        };
        let error = match self.ask_key(credential, &hasty(context), accepted_at.is_some()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error {
            SourceError::Denied(_) => Err(error),
            _ if accepted_at.is_some_and(|at| is_recent(at, self.stale_if_error.max(TRUSTED_FOR))) => Ok(()),
            // Upstream's 404 or 400 says nothing about a key.
            SourceError::AgentNotFound(words) | SourceError::Refused(words) => {
                let detail = format!("`GET /user/me` got HTTP {}", words.status);
                Err(SourceError::Malformed { detail })
            }
            SourceError::RateLimited { .. }
            | SourceError::Unavailable { .. }
            | SourceError::TimedOut
            | SourceError::Malformed { .. } => Err(error),
        }
    }

    /// Requests `GET /user/me`; concurrent callers share one request. The refusal of a key that was accepted
    /// before counts only if it is repeated.
    async fn ask_key(
        &self,
        credential: &Credential,
        context: &RequestContext,
        was_good: bool,
    ) -> Result<(), SourceError> {
        let (source, clock, keys) = (Arc::clone(&self.source), self.clock.clone(), self.keys.clone());
        let (id, credential, own) = (credential.id(), credential.clone(), context.clone());
        let ask = |deadline| async move {
            let context = RequestContext { deadline, ..own };
            match source.user(&credential, &context).await {
                // Everything stored for the key depends on it, and a single refusal may be stray.
                Err(SourceError::Denied(_)) if was_good => source.user(&credential, &context).await,
                answer => answer,
            }
        };
        let land = move |answer: &Result<(), SourceError>| {
            let at = clock.now();
            let standing = match answer {
                Ok(()) => KeyStanding::Good { at },
                Err(error @ SourceError::Denied(_)) => KeyStanding::Refused { at, error: error.clone() },
                Err(_) => KeyStanding::Inconclusive { at, accepted_at: accepted_at(keys.get(&id)) },
            };
            keys.insert(id, standing);
        };
        let answer = self.key_checks.join(id, context.deadline.as_ref(), ask, land).await;
        answer.unwrap_or_else(|_| Err(broke_off()))
    }

    /// Forgets everything about an agent.
    pub(super) fn forget(&self, agent: AgentId) {
        let pairs: Vec<Pair> =
            self.standings.iter().map(|(pair, _)| *pair).filter(|pair| pair.1 == agent).collect();
        self.checks.forget(|(pair, _)| pair.1 == agent);
        self.lists.forget_all();
        pairs.iter().for_each(|pair| self.standings.invalidate(pair));
    }

    async fn ask(
        &self,
        credential: &Credential,
        agent: AgentId,
        context: &RequestContext,
    ) -> Result<AgentFacts, SourceError> {
        let pair = (credential.id(), agent);
        let (source, credential) = (Arc::clone(&self.source), credential.clone());
        let (clock, standings, keys) = (self.clock.clone(), self.standings.clone(), self.keys.clone());
        let own = context.clone();
        let ask = |deadline| async move {
            let context = RequestContext { deadline, ..own };
            source.agent(&credential, agent, &context).await
        };
        let land = move |answer: &Result<AgentFacts, SourceError>| {
            if let Ok(facts) = answer {
                let at = clock.now();
                standings.insert(pair, PairStanding::Accepted { at, facts: *facts });
                keys.insert(pair.0, KeyStanding::Good { at });
            }
        };
        let answer = self.checks.join((pair, context.urgency), context.deadline.as_ref(), ask, land).await;
        answer.unwrap_or_else(|_| Err(broke_off()))
    }
}

/// The same context, for a check whose caller does not wait for retries.
fn hasty(context: &RequestContext) -> RequestContext {
    RequestContext { retry_for: Duration::ZERO, budget_wait: Some(BUDGET_WAIT), ..context.clone() }
}

fn accepted_at(standing: Option<KeyStanding>) -> Option<Timestamp> {
    match standing? {
        KeyStanding::Good { at } => Some(at),
        KeyStanding::Inconclusive { accepted_at, .. } => accepted_at,
        KeyStanding::Refused { .. } => None,
    }
}

fn broke_off() -> SourceError {
    let detail = "the check of the credential broke off".to_owned();
    SourceError::Unavailable { detail, retry_after: None, upstream: None }
}

/// Whether upstream refuses the pair, rather than failing.
const fn is_refusal(error: &SourceError) -> bool {
    matches!(error, SourceError::Denied(_) | SourceError::AgentNotFound(_))
}
