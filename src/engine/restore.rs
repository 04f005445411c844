//! Takes over what the tier kept of a scope, before anything is read of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::access::Access;
use super::parts::Parts;
use super::proof::DateSupport;
use super::scope::{
    DueElsewhere, Scope, Scopes, adopt_news, key_of, look_for_news, make_room, tier_scope_of,
};
use super::single_flight::SingleFlight;
use super::terms::Question;
use crate::domain::{CallerId, Filters, Timestamp};
use crate::source::Subject;
use crate::store::ScopeKey;

/// Of how many scopes it is known that they need no look into the tier. With more, all are looked for again.
const MOST_LOOKED_FOR: usize = 4_096;

/// After how long another process may have saved a scope that was not in the tier.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Restores scopes: each once, however many ask for it.
pub(super) struct Restores {
    parts: Arc<Parts>,
    scopes: Arc<Scopes>,
    access: Arc<Access>,
    flights: SingleFlight<ScopeKey, Option<Arc<Scope>>>,
    refreshes: SingleFlight<ScopeKey, bool>,
    looked_for: Mutex<LookedFor>,
}

/// The scopes that were looked for, so that a response from another scope's rows does not ask the tier each time.
#[derive(Default)]
struct LookedFor {
    scopes: HashSet<ScopeKey>,
    since: Option<Timestamp>,
}

impl LookedFor {
    fn add(&mut self, key: ScopeKey) {
        if self.scopes.len() >= MOST_LOOKED_FOR {
            self.scopes.clear();
        }
        self.scopes.insert(key);
    }

    /// Forgets them now and then, if other processes add to the tier.
    fn renew(&mut self, now: Timestamp) {
        if self.since.is_none_or(|since| now.since(since) > LOOK_AGAIN_AFTER) {
            self.scopes.clear();
            self.since = Some(now);
        }
    }
}

impl Restores {
    pub(super) fn new(parts: &Arc<Parts>, scopes: &Arc<Scopes>, access: &Arc<Access>) -> Self {
        Self {
            parts: Arc::clone(parts),
            scopes: Arc::clone(scopes),
            access: Arc::clone(access),
            flights: SingleFlight::new(parts.shutdown.clone()),
            refreshes: SingleFlight::new(parts.shutdown.clone()),
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
        let Some(tier) = &self.parts.tier else { return };
        if tier.is_shared() {
            self.looked_for.lock().renew(self.parts.clock.now());
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
        let unknown = subjects.filter(|subject| {
            self.scopes.find(subject).is_none() && !self.looked_for.lock().scopes.contains(&key_of(subject))
        });
        join_all(unknown.map(|subject| self.restore_scope(subject, question.caller.id))).await;
    }

    /// Takes over what other processes saved of a scope of which something is due: what they read need not be read again. Says
    /// whether anything new is known.
    pub(super) async fn refresh(&self, scope: &Arc<Scope>, due: DueElsewhere) -> bool {
        let (parts, access, own) = (Arc::clone(&self.parts), Arc::clone(&self.access), Arc::clone(scope));
        let work = move |_| async move { look_for_news(&parts, &access, &own, due).await };
        self.refreshes.join(scope.key, None, work, |_| ()).await.unwrap_or(false)
    }

    async fn restore_scope(&self, subject: Subject, holder: CallerId) {
        let key = key_of(&subject);
        let (parts, scopes) = (Arc::clone(&self.parts), Arc::clone(&self.scopes));
        let access = Arc::clone(&self.access);
        let work = move |_| async move {
            let tier = parts.tier.as_ref()?;
            let mut news = tier.load(&tier_scope_of(&subject), 0).await;
            if !tier.is_shared() {
                // A first response after a restart has what is new since.
                for cell in &mut news.cells {
                    cell.head = None;
                    cell.segments.retain(|segment| !segment.is_provisional);
                }
            }
            if news.cells.is_empty() {
                return None;
            }
            let dates = DateSupport::of_window(parts.settings.window);
            let scope = scopes.unregistered(&subject, holder, dates);
            adopt_news(&parts, &access, &scope, news);
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
        self.looked_for.lock().add(key);
    }
}
