//! Makes room when indexes and their columns take more than their part of the cache: drops columns first,
//! which can be made again from bytes, then indexes of rows whose bytes are gone, with their spans.
//!
//! The order is that of the store: the caller that holds most gives first, from its scope that holds most.
//! What was not requested for a while weighs more. Within a scope, the oldest rows go first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Scope, Scopes};
use crate::domain::{CallerId, Timestamp};
use crate::engine::coverage::Coverage;
use crate::store::{Store, weighed};

/// The bytes that a scope gives before sizes are compared again: some ten pages.
const AT_ONCE: u64 = 64 << 10;

/// Something that scopes hold and can drop.
#[derive(Clone, Copy)]
struct Sheddable {
    weigh: fn(&Coverage) -> u64,
    /// Drops about this many bytes of it, and returns how many it dropped.
    shed: fn(&mut Coverage, u64) -> u64,
}

const COLUMNS: Sheddable =
    Sheddable { weigh: Coverage::column_bytes, shed: |coverage, bytes| coverage.shed_columns(bytes) };

const BARE_INDEXES: Sheddable = Sheddable { weigh: Coverage::bare_index_bytes, shed: Coverage::shed };

/// A scope with something to drop.
struct SheddingScope {
    scope: Arc<Scope>,
    holder: CallerId,
    bytes: u64,
    idle: Duration,
}

/// Drops as much as the store asks for.
pub(in crate::engine) fn make_room(scopes: &Scopes, store: &dyn Store, now: Timestamp) {
    let surplus = store.index_surplus();
    if surplus > 0 {
        let surplus = shed(COLUMNS, scopes, surplus, now);
        shed(BARE_INDEXES, scopes, surplus, now);
    }
}

/// Drops this many bytes of something, and returns how many are still to be dropped.
fn shed(what: Sheddable, scopes: &Scopes, mut surplus: u64, now: Timestamp) -> u64 {
    if surplus == 0 {
        return 0;
    }
    // Locks of scopes are never waited for under the lock of all of them.
    let weighed = |scope| SheddingScope::new(scope, what, now);
    let mut largest: Vec<SheddingScope> = scopes.all().into_iter().map(weighed).collect();
    largest.retain(|scope| scope.bytes > 0);
    while surplus > 0
        && let Some(next) = next_to_go(&largest)
    {
        let scope = &mut largest[next];
        let freed = (what.shed)(&mut scope.scope.lock().coverage, surplus.min(AT_ONCE));
        surplus = surplus.saturating_sub(freed);
        scope.bytes = if freed == 0 { 0 } else { scope.bytes.saturating_sub(freed) };
        if scope.bytes == 0 {
            largest.swap_remove(next);
        }
    }
    surplus
}

fn next_to_go(scopes: &[SheddingScope]) -> Option<usize> {
    let mut callers: HashMap<CallerId, (u64, Duration)> = HashMap::new();
    for scope in scopes {
        let (bytes, idle) = callers.entry(scope.holder).or_insert((0, scope.idle));
        (*bytes, *idle) = (*bytes + scope.bytes, scope.idle.min(*idle));
    }
    let (caller, _) = callers.into_iter().max_by_key(|(_, (bytes, idle))| weighed(*bytes, *idle))?;
    let its = scopes.iter().enumerate().filter(|(_, scope)| scope.holder == caller);
    its.max_by_key(|(_, scope)| weighed(scope.bytes, scope.idle)).map(|(at, _)| at)
}

impl SheddingScope {
    fn new(scope: Arc<Scope>, what: Sheddable, now: Timestamp) -> Self {
        let bytes = (what.weigh)(&scope.lock().coverage);
        Self { holder: scope.holder, bytes, idle: scope.idle(now), scope }
    }
}
