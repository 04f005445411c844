//! Runs readings: each is a task of its own that adds its pieces to its scope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::turns::{FirstLook, ReadTurns};
use super::{Scope, Scopes, make_room};
use crate::domain::Entry;
use crate::engine::access::Access;
use crate::engine::coverage::Piece;
use crate::engine::freshness::Membership;
use crate::engine::parts::Parts;
use crate::engine::reading::{Ended, Purpose, Reader, Reading, ReadingSink};
use crate::engine::terms::AskError;
use crate::source::{SourceError, Subject};

/// The most entries that are fetched from the tier for a probe: about a page each. The others lose their bytes.
const MOST_PROBED: usize = 64;

/// The collaborators of readings.
pub(in crate::engine) struct Reads {
    parts: Arc<Parts>,
    access: Arc<Access>,
    scopes: Arc<Scopes>,
    repairs: AtomicU64,
}

impl Reads {
    pub(in crate::engine) fn new(parts: Arc<Parts>, access: Arc<Access>, scopes: Arc<Scopes>) -> Self {
        Self { parts, access, scopes, repairs: AtomicU64::new(0) }
    }

    /// Starts a reading, if it was not started yet.
    pub(in crate::engine) fn start(self: &Arc<Self>, scope: &Arc<Scope>, reading: &Arc<Reading>) {
        if !reading.claim_start() {
            return;
        }
        let (reads, scope, reading) = (Arc::clone(self), Arc::clone(scope), Arc::clone(reading));
        self.parts.shutdown.clone().spawn(async move {
            // However the task ends, its waiters are woken.
            let over = Over { scope: &scope, reading: &reading };
            let end = tokio::select! {
                end = reads.read(&scope, &reading) => end,
                () = reads.parts.shutdown.end_ordered() => Err(Ended::Failed(AskError::ShuttingDown)),
            };
            over.with(end);
        });
    }

    async fn read(&self, scope: &Scope, reading: &Reading) -> Result<(), Ended> {
        let Some(turn) = ReadTurns::of(&self.parts, &self.access, scope, reading) else {
            return self.read_upstream(scope, reading).await;
        };
        let first = tokio::select! {
            first = turn.wait() => first,
            () = reading.abandoned() => return Err(Ended::Unwanted),
        };
        if first == FirstLook::News {
            // Those who wait plan again, with what another process read.
            return Ok(());
        }
        tokio::select! {
            end = self.read_upstream(scope, reading) => end,
            () = turn.hold() => Ok(()),
        }
    }

    async fn read_upstream(&self, scope: &Scope, reading: &Reading) -> Result<(), Ended> {
        if let Some(error) = scope.learned.contradiction(reading.span) {
            return Err(Ended::Failed(error));
        }
        let parts = &*self.parts;
        let filters = match &reading.purpose {
            Purpose::Fill => scope.subject.filters.clone(),
            Purpose::Probe(status) => scope.subject.filters.with_status(status.clone()),
        };
        let subject = Subject { credential: scope.credential(), agent: scope.subject.agent, filters };
        let reader = Reader {
            source: &*parts.source,
            clock: &parts.clock,
            subject: &subject,
            context: &reading.context,
            learned: &scope.learned,
            commit_lag: parts.settings.commit_lag,
            prefetch: reading.prefetch.as_deref(),
            in_flight: Arc::clone(&reading.in_flight),
            fan_out: parts.settings.fan_out,
            follow_ups: AtomicU32::new(0),
        };
        let membership =
            if scope.subject.filters.can_change() { Membership::Spans } else { Membership::Fixed };
        let policy = parts.plain_policy(membership);
        let sink = ReadingSink {
            reading,
            store: |piece: Piece| {
                self.access.accepted(subject.credential.id(), subject.agent);
                let span = piece.span;
                if let Purpose::Probe(status) = &reading.purpose {
                    scope.patch(&*parts.store, &piece, status);
                    parts.share_soon();
                }
                let slices = scope.keep(&*parts.store, &piece, reading, parts.settings.commit_lag, &policy);
                make_room(&self.scopes, &*parts.store, parts.clock.now());
                (span, slices)
            },
        };
        // Held until the rows that the probe brings are put beside the others of their entries.
        let _probed = self.fetch_probed(scope, reading).await;
        let repairs = scope.learned.repairs();
        let end = tokio::select! {
            end = reader.read(reading.span, &sink) => end,
            // Wherever it is: in the gate's line, or waiting for upstream's answer.
            () = reading.abandoned() => Err(Ended::Unwanted),
        };
        if let Err(Ended::Failed(error @ AskError::Inconsistent { span, .. })) = &end {
            scope.learned.contradicted(*span, error);
        }
        if end.is_err() && reading.trusts_order() && !scope.learned.is_order_known() {
            // One page in order is too little to believe of a list that was not read to its end.
            scope.unlearn_span(&*parts.store, reading.span);
        }
        if matches!(end, Err(Ended::Disordered)) {
            // What was learned of the scope rests on an order that it does not have.
            scope.unlearn(&*parts.store);
        }
        let repaired = scope.learned.repairs() - repairs;
        self.repairs.fetch_add(repaired, Ordering::Relaxed);
        end
    }

    /// Fetches the entries of the rows that a probe asks about, if only the tier has their bytes: a row that changed is kept with
    /// those beside it, or all of them would have to be read again.
    async fn fetch_probed(&self, scope: &Scope, reading: &Reading) -> Vec<Arc<Entry>> {
        let (Purpose::Probe(status), Some(tier)) = (&reading.purpose, &self.parts.tier) else {
            return Vec::new();
        };
        let entries = scope.saved_only_of_status(reading.span, status, MOST_PROBED);
        scope.fetch(&**tier, &*self.parts.store, reading.span, entries).await
    }

    /// The number of walks that were repaired since the start.
    pub(in crate::engine) fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::Relaxed)
    }
}

/// Removes a reading from its scope's list and ends it, even if its task panics.
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
