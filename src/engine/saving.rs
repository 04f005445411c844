//! Saves what is read to the tier, in the background, and drops what other processes void.
//!
//! One task looks for scopes that changed, and saves one after another. While a write is in progress, or the tier accepts nothing,
//! a change costs a number per week and nothing else. So a disk that is slow, stalled or full delays no response and fills no
//! memory.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::knowledge;
use super::scope::Scope;
use super::state::SharedState;
use crate::domain::{AgentFacts, Span};
use crate::tier::{Saved, Tier, turn_of, weeks_in};

/// How often scopes are looked through for changes: what was read in this time is lost by a crash.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// How long nothing is written after the tier took nothing.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Begins to save, if there is a tier. Ends with the engine, or with the last reading of a drain.
pub(super) fn spawn(state: &Arc<SharedState>) {
    let Some(tier) = state.parts.tier.clone() else { return };
    let (shutdown, state) = (state.parts.shutdown.clone(), Arc::downgrade(state));
    shutdown.clone().spawn(async move {
        while let Some(is_saved) = save_all(&state, &*tier).await {
            let pause = if is_saved { SAVE_EVERY } else { RETRY_AFTER };
            if shutdown.is_draining() {
                if !is_reading(&state) || !is_saved {
                    // What the last reading brought since.
                    save_all(&state, &*tier).await;
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(SAVE_EVERY / 4) => {}
                    () = shutdown.end_ordered() => {}
                }
            } else {
                let Some(save_soon) = state.upgrade().map(|state| Arc::clone(&state.parts.save_soon)) else {
                    return;
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = save_soon.notified(), if is_saved => {}
                    () = shutdown.drain_begun() => {}
                }
            }
        }
    });
}

/// How often marks of other processes are looked for: what was purged is served for no longer than a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Drops what another process voids, for as long as the engine lives.
pub(super) fn watch_voids(state: &Arc<SharedState>) {
    let Some(tier) = state.parts.tier.clone() else { return };
    let (shutdown, state) = (state.parts.shutdown.clone(), Arc::downgrade(state));
    shutdown.clone().spawn(async move {
        while let Some(scopes) = state.upgrade().map(|state| state.scopes.all()) {
            let voided = tier.voided(scopes.iter().map(|scope| scope.tier_scope()).collect()).await;
            for (voided, until) in voided {
                if let Some(state) = state.upgrade()
                    && scopes.iter().any(|scope| scope.key == voided.key && scope.was_read_before(until))
                {
                    knowledge::drop_credential(&state, voided.credential, Some(voided.agent));
                }
            }
            drop(scopes);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.drain_begun() => return,
            }
        }
    });
}

/// Writes everything that changed, and returns whether the tier took it. Ends at the first scope that it does not take. None if the
/// engine is gone.
async fn save_all(state: &Weak<SharedState>, tier: &dyn Tier) -> Option<bool> {
    let (scopes, access) = {
        let state = state.upgrade()?;
        (state.scopes.all(), Arc::clone(&state.access))
    };
    for scope in scopes {
        let agent = access.facts(scope.subject.credential.id(), scope.subject.agent);
        if !save_scope(&scope, tier, agent).await {
            return Some(false);
        }
    }
    Some(true)
}

/// Writes what changed in a scope, and ends the turns of what is written. Returns whether the tier took it.
///
/// What changes meanwhile waits for the next time, so that a scope that is being read does not hold up the others.
async fn save_scope(scope: &Scope, tier: &dyn Tier, agent: Option<AgentFacts>) -> bool {
    let mut turns_over = scope.take_turns_over();
    let mut due = scope.unsaved_weeks();
    while let Some(weeks) = &mut due {
        let Some(saving) = scope.begin_saving(weeks, agent) else { break };
        let written = saving.weeks.clone();
        let saved = tier.save(&scope.tier_scope(), Arc::clone(&saving.changes)).await;
        scope.end_saving(saving, saved);
        if saved == Saved::No {
            return false;
        }
        weeks.retain(|week| !written.contains(week));
        let is_saved = |span: &Span| weeks_in(*span).all(|week| !weeks.contains(&week));
        let (over, later): (Vec<Span>, _) = turns_over.into_iter().partition(is_saved);
        end_turns(scope, tier, &over);
        turns_over = later;
        if weeks.is_empty() || written.is_empty() {
            break;
        }
    }
    end_turns(scope, tier, &turns_over);
    true
}

fn end_turns(scope: &Scope, tier: &dyn Tier, over: &[Span]) {
    let turns: Vec<i64> = over.iter().map(|span| turn_of(*span)).collect();
    tier.end_turns(&scope.tier_scope(), &turns);
}

/// Whether anything is still being read.
fn is_reading(state: &Weak<SharedState>) -> bool {
    state.upgrade().is_some_and(|state| {
        !state.parts.shutdown.is_ended() && state.scopes.all().iter().any(|scope| scope.is_reading())
    })
}
