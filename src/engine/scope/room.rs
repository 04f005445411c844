//! What is forgotten when indexes take more than their part of the cache: those of rows whose bytes are gone, with their spans.
//!
//! The order is the store's: of all callers, the one that holds most gives first, and of its scopes the one that holds most;
//! what was not requested for a while weighs more. Of one scope the oldest rows go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Scope, Scopes};
use crate::domain::{CallerId, Timestamp};
use crate::store::{Store, weighed};

/// How many bytes a scope gives at a time, before sizes are compared again: some ten pages.
const AT_ONCE: u64 = 64 << 10;

/// A scope with rows whose bytes are gone.
struct BareScope {
    scope: Arc<Scope>,
    holder: CallerId,
    bytes: u64,
    idle: Duration,
}

/// Forgets as much as the store asks for.
pub(in crate::engine) fn make_room(scopes: &Scopes, store: &dyn Store, now: Timestamp) {
    let mut surplus = store.index_surplus();
    if surplus == 0 {
        return;
    }
    // Locks of scopes are never waited for under the lock of all of them.
    let mut bare: Vec<BareScope> = scopes.all().into_iter().map(|scope| BareScope::new(scope, now)).collect();
    bare.retain(|scope| scope.bytes > 0);
    while surplus > 0
        && let Some(next) = next_to_go(&bare)
    {
        let largest = &mut bare[next];
        let freed = largest.scope.lock().coverage.shed(surplus.min(AT_ONCE));
        surplus = surplus.saturating_sub(freed);
        largest.bytes = if freed == 0 { 0 } else { largest.bytes.saturating_sub(freed) };
        if largest.bytes == 0 {
            bare.swap_remove(next);
        }
    }
}

fn next_to_go(bare: &[BareScope]) -> Option<usize> {
    let mut callers: HashMap<CallerId, (u64, Duration)> = HashMap::new();
    for scope in bare {
        let (bytes, idle) = callers.entry(scope.holder).or_insert((0, scope.idle));
        (*bytes, *idle) = (*bytes + scope.bytes, scope.idle.min(*idle));
    }
    let (caller, _) = callers.into_iter().max_by_key(|(_, (bytes, idle))| weighed(*bytes, *idle))?;
    let its = bare.iter().enumerate().filter(|(_, scope)| scope.holder == caller);
    its.max_by_key(|(_, scope)| weighed(scope.bytes, scope.idle)).map(|(at, _)| at)
}

impl BareScope {
    fn new(scope: Arc<Scope>, now: Timestamp) -> Self {
        let bytes = scope.lock().coverage.bare_index_bytes();
        Self { holder: scope.holder, bytes, idle: scope.idle(now), scope }
    }
}
