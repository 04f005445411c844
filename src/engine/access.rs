//! Whether upstream still accepts a credential for an agent.
//!
//! Nothing is answered for a key that upstream did not accept within the last [`TRUSTED_FOR`]: every page it gives
//! for the key counts, and without any, one `GET /v2/agent/{id}` tells key and agent at once. A refusal is believed
//! when a second question confirms it, because a single 403 may be stray; for a key that was never accepted, at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::Clock;
use crate::domain::{AgentFacts, AgentId, Credential, CredentialId, Timestamp};
use crate::shutdown::Shutdown;
use crate::source::{Source, SourceError, Turn};

/// For how long upstream's acceptance holds.
const TRUSTED_FOR: Duration = Duration::from_mins(1);

/// For how long a refusal is repeated without asking upstream again: a storm of bad keys stops here, and a key that
/// was just made works a moment later.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// How long a check waits for room in the budget when there is an acceptance to fall back on.
const BUDGET_WAIT: Duration = Duration::from_secs(2);

/// The most credential-agent pairs that are remembered.
const MAX_PAIRS: u64 = 65_536;

type Pair = (CredentialId, AgentId);
type Checking = Shared<BoxFuture<'static, Result<AgentFacts, SourceError>>>;

#[derive(Clone, Debug)]
enum Standing {
    Accepted { at: Timestamp, facts: AgentFacts },
    Refused { at: Timestamp, error: SourceError },
}

/// What upstream said of a key, whoever it was asked about.
///
/// A key that is wrong is so for every agent; without this, a storm of one bad key over many agents would use up the part of
/// the budget that new keys share.
#[derive(Clone, Debug)]
enum KeyStanding {
    /// It was accepted for some agent: a refusal for another is not about the key, until it is confirmed for one that it was
    /// accepted for.
    Good,
    Refused {
        at: Timestamp,
        error: SourceError,
    },
}

pub(super) struct Access {
    source: Arc<dyn Source>,
    clock: Clock,
    shutdown: Shutdown,
    stale_if_error: Duration,
    standings: moka::sync::Cache<Pair, Standing>,
    keys: moka::sync::Cache<CredentialId, KeyStanding>,
    checking: Arc<Mutex<HashMap<Pair, Checking>>>,
}

/// What is known of a pair without asking.
#[derive(Debug)]
pub(super) enum Known {
    /// Accepted within the last minute.
    Accepted(AgentFacts),
    /// Refused a moment ago.
    Refused(SourceError),
    /// Neither.
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
        Self { source, clock, shutdown, stale_if_error, standings, keys, checking: Arc::default() }
    }

    /// What is known of a pair.
    pub(super) fn known(&self, credential: CredentialId, agent: AgentId) -> Known {
        let now = self.clock.now();
        match self.standings.get(&(credential, agent)) {
            Some(Standing::Accepted { at, facts }) if now.since(at) <= TRUSTED_FOR => Known::Accepted(facts),
            Some(Standing::Refused { at, error }) if now.since(at) <= REFUSED_FOR => Known::Refused(error),
            Some(_) | None => match self.keys.get(&credential) {
                Some(KeyStanding::Refused { at, error }) if now.since(at) <= REFUSED_FOR => {
                    Known::Refused(error)
                }
                Some(KeyStanding::Refused { .. } | KeyStanding::Good) | None => Known::Unknown,
            },
        }
    }

    /// Upstream gave a page to this credential.
    pub(super) fn accepted(&self, credential: CredentialId, agent: AgentId) {
        if let Some(Standing::Accepted { facts, .. }) = self.standings.get(&(credential, agent)) {
            self.standings.insert((credential, agent), Standing::Accepted { at: self.clock.now(), facts });
        }
    }

    /// Asks upstream, together with whoever asks the same already.
    ///
    /// # Errors
    /// A refusal is confirmed. While upstream fails, a pair that was accepted within `stale-if-error` passes.
    pub(super) async fn check(
        &self,
        credential: &Credential,
        agent: AgentId,
        turn: &Turn,
    ) -> Result<AgentFacts, SourceError> {
        let pair = (credential.id(), agent);
        let before = self.standings.get(&pair);
        let turn = &self.patience(before.as_ref(), turn);
        let mut answer = self.ask(credential, agent, turn).await;
        let is_early = || turn.deadline.as_ref().is_some_and(|deadline| deadline.instant() > Instant::now());
        if matches!(answer, Err(SourceError::TimedOut)) && is_early() {
            // The deadline that passed was that of whoever began the check.
            answer = self.ask(credential, agent, turn).await;
        }
        let error = match answer {
            Ok(facts) => return Ok(facts),
            Err(error) => error,
        };
        let is_refusal = matches!(error, SourceError::Denied(_) | SourceError::AgentNotFound(_));
        match before {
            Some(Standing::Accepted { at, facts }) if !is_refusal => {
                let is_recent = self.clock.now().since(at) <= self.stale_if_error.max(TRUSTED_FOR);
                if is_recent { Ok(facts) } else { Err(error) }
            }
            Some(Standing::Accepted { .. }) => self.ask(credential, agent, turn).await.inspect_err(|error| {
                if matches!(error, SourceError::Denied(_)) {
                    self.keys.invalidate(&pair.0);
                }
                self.refuse(pair, error);
            }),
            Some(Standing::Refused { .. }) | None => {
                self.refuse(pair, &error);
                Err(error)
            }
        }
    }

    /// Whoever may be answered anyway does not wait for retries.
    fn patience(&self, before: Option<&Standing>, turn: &Turn) -> Turn {
        match before {
            Some(Standing::Accepted { at, .. }) if self.clock.now().since(*at) <= self.stale_if_error => {
                Turn { retry_for: Duration::ZERO, budget_wait: Some(BUDGET_WAIT), ..turn.clone() }
            }
            Some(Standing::Accepted { .. } | Standing::Refused { .. }) | None => turn.clone(),
        }
    }

    /// Whether upstream ever accepted the pair.
    pub(super) fn was_accepted(&self, credential: CredentialId, agent: AgentId) -> bool {
        matches!(self.standings.get(&(credential, agent)), Some(Standing::Accepted { .. }))
    }

    fn refuse(&self, pair: Pair, error: &SourceError) {
        if matches!(error, SourceError::Denied(_) | SourceError::AgentNotFound(_)) {
            let at = self.clock.now();
            self.standings.insert(pair, Standing::Refused { at, error: error.clone() });
            let is_good = matches!(self.keys.get(&pair.0), Some(KeyStanding::Good));
            if matches!(error, SourceError::Denied(_)) && !is_good {
                self.keys.insert(pair.0, KeyStanding::Refused { at, error: error.clone() });
            }
        }
    }

    /// Forgets what is known of an agent.
    pub(super) fn forget(&self, agent: AgentId) {
        let pairs: Vec<Pair> =
            self.standings.iter().map(|(pair, _)| *pair).filter(|pair| pair.1 == agent).collect();
        pairs.iter().for_each(|pair| self.standings.invalidate(pair));
    }

    async fn ask(
        &self,
        credential: &Credential,
        agent: AgentId,
        turn: &Turn,
    ) -> Result<AgentFacts, SourceError> {
        let pair = (credential.id(), agent);
        let answer = {
            let mut checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
            checking.entry(pair).or_insert_with(|| self.begin(pair, credential.clone(), turn.clone())).clone()
        };
        answer.await
    }

    fn begin(&self, pair: Pair, credential: Credential, turn: Turn) -> Checking {
        let (say, hear) = oneshot::channel();
        let (source, clock) = (Arc::clone(&self.source), self.clock.clone());
        let (standings, keys) = (self.standings.clone(), self.keys.clone());
        let over = Over { pair, checking: Arc::clone(&self.checking) };
        self.shutdown.spawn(async move {
            let _over = over;
            let answer = source.agent(&credential, pair.1, &turn).await;
            if let Ok(facts) = &answer {
                standings.insert(pair, Standing::Accepted { at: clock.now(), facts: *facts });
                keys.insert(pair.0, KeyStanding::Good);
            }
            // Nobody may be left to hear it.
            let _ = say.send(answer);
        });
        let lost = || SourceError::Unavailable {
            detail: "the check of the credential broke off".to_owned(),
            retry_after: None,
            upstream: None,
        };
        hear.map(move |answer| answer.unwrap_or_else(|_| Err(lost()))).boxed().shared()
    }
}

/// Takes a check off the list when it is over, whoever still waits for it, and also when its task panics: a later
/// question asks anew.
struct Over {
    pair: Pair,
    checking: Arc<Mutex<HashMap<Pair, Checking>>>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.checking.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pair);
    }
}
