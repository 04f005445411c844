//! Takes over what the tier kept of a scope, before anything is read of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::parts::Parts;
use super::proof::DateSupport;
use super::scope::{Scope, Scopes, key_of, make_room};
use super::single_flight::SingleFlight;
use super::terms::Question;
use crate::domain::{CallerId, Filters};
use crate::source::Subject;
use crate::store::ScopeKey;
use crate::tier::TierScope;

/// Of how many scopes it is known that they need no look into the tier. With more, all are looked for again.
const MOST_LOOKED_FOR: usize = 4_096;

/// Restores scopes: each once, however many ask for it.
pub(super) struct Restores {
    parts: Arc<Parts>,
    scopes: Arc<Scopes>,
    flights: SingleFlight<ScopeKey, Option<Arc<Scope>>>,
    /// The scopes that were looked for, so that a response from another scope's rows does not ask the tier each time.
    looked_for: Mutex<HashSet<ScopeKey>>,
}

impl Restores {
    pub(super) fn new(parts: &Arc<Parts>, scopes: &Arc<Scopes>) -> Self {
        Self {
            parts: Arc::clone(parts),
            scopes: Arc::clone(scopes),
            flights: SingleFlight::new(parts.shutdown.clone()),
            looked_for: Mutex::default(),
        }
    }

    /// What is being restored is not used: it may be of what was just forgotten.
    pub(super) fn forget(&self) {
        self.flights.forget(|_| true);
    }

    /// Takes over what a question may be answered from, as far as nothing is known of it here.
    ///
    /// A scope of which the tier keeps nothing takes no place.
    pub(super) async fn restore(&self, question: &Question) {
        if self.parts.tier.is_none() {
            return;
        }
        let mut filters = vec![question.filters.clone()];
        for wider in [question.filters.without_status(), Filters::default()] {
            if !filters.contains(&wider) {
                filters.push(wider);
            }
        }
        let subjects = filters.into_iter().map(|filters| Subject {
            credential: question.credential.clone(),
            agent: question.agent,
            filters,
        });
        let unknown = subjects
            .filter(|subject| self.scopes.find(subject).is_none() && !self.lock().contains(&key_of(subject)));
        join_all(unknown.map(|subject| self.restore_scope(subject, question.caller.id))).await;
    }

    async fn restore_scope(&self, subject: Subject, holder: CallerId) {
        let key = key_of(&subject);
        let (parts, scopes) = (Arc::clone(&self.parts), Arc::clone(&self.scopes));
        let work = move |_| async move {
            let tier = parts.tier.as_ref()?;
            let scope = TierScope { key, agent: subject.agent, credential: subject.credential.id() };
            let cells = tier.load(&scope, 0).await.cells;
            if cells.is_empty() {
                return None;
            }
            let dates = DateSupport::of_window(parts.settings.window);
            let scope = scopes.unregistered(&subject, holder, dates);
            scope.adopt(&*parts.store, cells);
            Some(scope)
        };
        let (parts, scopes) = (Arc::clone(&self.parts), Arc::clone(&self.scopes));
        let land = move |restored: &Option<Arc<Scope>>| {
            if let Some(scope) = restored {
                scopes.register(scope, &*parts.store, parts.clock.now());
            }
        };
        // Fails if the process stops: then nothing is read either.
        let _ = self.flights.join(key, None, work, land).await;
        make_room(&self.scopes, &*self.parts.store, self.parts.clock.now());
        let mut looked_for = self.lock();
        if looked_for.len() >= MOST_LOOKED_FOR {
            looked_for.clear();
        }
        looked_for.insert(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ScopeKey>> {
        self.looked_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
