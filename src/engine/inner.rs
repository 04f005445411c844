use std::sync::Arc;

use super::AskError;
use super::access::Access;
use super::background::Background;
use super::clock::Clock;
use super::freshness::{Membership, Policy};
use super::memory::ResponseMemory;
use super::opening::Openings;
use super::reading::{Ended, Piece, Purpose, Reader, Reading, ReadingDesk};
use super::relay::Relays;
use super::scope::Scope;
use super::scopes::Scopes;
use super::settings::EngineSettings;
use super::stretch::Stretch;
use crate::domain::{AgentId, Caller, CredentialId};
use crate::shutdown::Shutdown;
use crate::source::{Source, SourceError, Subject};
use crate::store::Store;

/// What every question shares.
pub(super) struct Inner {
    pub(super) settings: EngineSettings,
    pub(super) source: Arc<dyn Source>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    pub(super) scopes: Scopes,
    pub(super) access: Access,
    pub(super) openings: Openings,
    pub(super) relays: Relays,
    pub(super) background: Background,
    pub(super) memory: ResponseMemory,
    pub(super) stretch: Stretch,
    repairs: std::sync::atomic::AtomicU64,
}

impl Inner {
    pub(super) fn new(
        settings: EngineSettings,
        source: Arc<dyn Source>,
        store: Arc<dyn Store>,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Self {
        let access =
            Access::new(Arc::clone(&source), clock.clone(), shutdown.clone(), settings.stale_if_error);
        let (relays, openings) = (Relays::new(settings.relay_bytes, shutdown.clone()), Openings::default());
        let background = Background::new(shutdown.clone());
        let memory = ResponseMemory::new(settings.response_bytes);
        let (scopes, stretch) = (Scopes::default(), Stretch::default());
        let repairs = std::sync::atomic::AtomicU64::default();
        Self {
            settings,
            source,
            store,
            clock,
            shutdown,
            scopes,
            access,
            openings,
            relays,
            background,
            memory,
            stretch,
            repairs,
        }
    }

    /// How old things may get for a caller's questions, as far as the budget allows it.
    pub(super) fn policy(&self, membership: Membership, credential: CredentialId, caller: Caller) -> Policy {
        let room = || self.source.room(credential, caller);
        let factor = self.stretch.factor(caller.id, self.clock.now(), room);
        self.plain_policy(membership).stretched(factor)
    }

    /// How old things may get while the budget allows it.
    pub(super) fn plain_policy(&self, membership: Membership) -> Policy {
        self.settings.policy(membership).with_upstream_ahead(self.source.clock_ahead_micros())
    }

    /// Starts a reading, if nobody did.
    pub(super) fn start(self: &Arc<Self>, scope: &Arc<Scope>, reading: &Arc<Reading>) {
        if !reading.claim_start() {
            return;
        }
        let (inner, scope, reading) = (Arc::clone(self), Arc::clone(scope), Arc::clone(reading));
        self.shutdown.clone().spawn(async move {
            // However the task ends, those who wait are told.
            let over = Over { scope: &scope, reading: &reading };
            let end = tokio::select! {
                end = inner.read(&scope, &reading) => end,
                () = inner.shutdown.end_ordered() => Err(Ended::Failed(AskError::ShuttingDown)),
            };
            over.with(end);
        });
    }

    async fn read(&self, scope: &Scope, reading: &Reading) -> Result<(), Ended> {
        if let Some(error) = scope.learned.contradiction(reading.span) {
            return Err(Ended::Failed(error));
        }
        let filters = match &reading.purpose {
            Purpose::Know => scope.subject.filters.clone(),
            Purpose::Probe(status) => scope.subject.filters.with_status(status.clone()),
        };
        let subject = Subject { credential: scope.credential(), agent: scope.subject.agent, filters };
        let reader = Reader {
            source: &*self.source,
            clock: &self.clock,
            subject: &subject,
            context: &reading.context,
            learned: &scope.learned,
            commit_lag: self.settings.commit_lag,
            opening: reading.opening.as_deref(),
            in_flight: Arc::clone(&reading.in_flight),
            fan_out: self.settings.fan_out,
            follow_ups: std::sync::atomic::AtomicU32::new(0),
        };
        let membership =
            if scope.subject.filters.can_change() { Membership::Spans } else { Membership::Fixed };
        let policy = self.plain_policy(membership);
        let desk = ReadingDesk {
            reading,
            lay: |piece: Piece| {
                self.access.accepted(subject.credential.id(), subject.agent);
                let span = piece.span;
                if let Purpose::Probe(status) = &reading.purpose {
                    scope.patch(&*self.store, &piece, status);
                }
                (span, scope.keep(&*self.store, &piece, reading, self.settings.commit_lag, &policy))
            },
        };
        let repairs = scope.learned.repairs();
        let end = tokio::select! {
            end = reader.read(reading.span, &desk) => end,
            // Wherever it is: in the gate's line, or waiting for upstream's answer.
            () = reading.abandoned() => Err(Ended::Unwanted),
        };
        if let Err(Ended::Failed(error @ AskError::Inconsistent { span, .. })) = &end {
            scope.learned.contradicted(*span, error);
        }
        if end.is_err() && reading.has_given() && !scope.learned.is_order_known() {
            // One page in order is too little to believe of a list that was not read to its end.
            scope.unlearn_span(&*self.store, reading.span);
        }
        if matches!(end, Err(Ended::Disordered)) {
            // What was learned of the scope rests on an order that it does not have.
            scope.unlearn(&*self.store);
        }
        let repaired = scope.learned.repairs() - repairs;
        self.repairs.fetch_add(repaired, std::sync::atomic::Ordering::Relaxed);
        end
    }

    pub(super) fn repairs(&self) -> u64 {
        self.repairs.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Forgets what was read with a credential: of one agent, or of all.
    pub(super) fn drop_credential(&self, credential: CredentialId, agent: Option<AgentId>) {
        self.scopes.close(&*self.store, |subject| {
            subject.credential.id() == credential && agent.is_none_or(|agent| subject.agent == agent)
        });
        self.relays.drop_credential(credential, agent);
    }

    pub(super) fn forget(&self, agent: AgentId) {
        self.scopes.close(&*self.store, |subject| subject.agent == agent);
        self.relays.forget(agent);
        self.access.forget(agent);
    }
}

/// Takes a reading off its scope's list and ends it, also when its task panics.
struct Over<'a> {
    scope: &'a Scope,
    reading: &'a Arc<Reading>,
}

impl Over<'_> {
    fn with(self, end: Result<(), Ended>) {
        self.leave();
        self.reading.finish(end);
        std::mem::forget(self);
    }

    fn leave(&self) {
        self.scope.lock().readings.retain(|other| !Arc::ptr_eq(other, self.reading));
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.leave();
        let error = SourceError::Unavailable {
            detail: "the read broke off".to_owned(),
            retry_after: None,
            upstream: None,
        };
        self.reading.finish(Err(Ended::from(error)));
    }
}
