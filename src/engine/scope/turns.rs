//! Takes turns with other processes that share the tier, so that a span is read once for all of them.
//!
//! A turn saves requests and decides nothing: what two processes read at once is right twice.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Scope;
use crate::domain::Span;
use crate::engine::access::Access;
use crate::engine::parts::Parts;
use crate::engine::reading::Reading;
use crate::tier::{Tier, TierNews, turn_of};

/// How often a process that waits for its turn looks for what the other one saved.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How often a turn is asked for again while it is used. It ends by itself after three times as long.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// What came of waiting for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// This process may read.
    Turn,
    /// Another one has read something of the span.
    News,
}

/// Something is due that another process may have read.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct DueElsewhere {
    /// The newest part that has to be read; none if only single rows are asked about.
    pub(in crate::engine) reading: Option<Span>,
}

/// Takes over what another process saved; says whether anything new is known. What upstream gave it for the key counts as an
/// acceptance of the key.
pub(in crate::engine) fn adopt_news(parts: &Parts, access: &Access, scope: &Scope, news: TierNews) -> bool {
    let segments = news.cells.iter().flat_map(|cell| &cell.segments);
    if let Some(at) = segments.map(|segment| segment.latest_read_at).max() {
        let known_there = news.cells.iter().find_map(|cell| cell.head?.agent);
        access.accepted_at(scope.subject.credential.id(), scope.subject.agent, at, known_there);
    }
    scope.adopt(&*parts.store, news)
}

/// Looks for what other processes saved of a scope, of which a part is due, and takes a turn for that part at the same time: both cost
/// one round trip. Says whether anything new is known. The turn is for the readings that begin now, if nothing is.
pub(in crate::engine) async fn look_for_news(
    parts: &Parts,
    access: &Access,
    scope: &Scope,
    due: DueElsewhere,
) -> bool {
    let Some(tier) = parts.shared_tier() else { return false };
    let (of, version) = (scope.tier_scope(), scope.tier_version());
    let Some(due) = due.reading else {
        return adopt_news(parts, access, scope, tier.load(&of, version).await);
    };
    let turn = tier.take_turn(&of, due, version).await;
    let has_learned = adopt_news(parts, access, scope, turn.news);
    if turn.is_mine && !has_learned {
        scope.lock().claimed.grant(due);
    } else if turn.is_mine && !scope.is_reading() {
        // What is due now may be something else.
        tier.end_turns(&of, &[turn_of(due)]);
    }
    has_learned
}

/// The turns of one reading.
pub(super) struct ReadTurns<'a> {
    parts: &'a Parts,
    tier: &'a dyn Tier,
    access: &'a Access,
    scope: &'a Scope,
    reading: &'a Reading,
}

impl<'a> ReadTurns<'a> {
    /// None if there is nobody to take turns with, or the reading does without.
    pub(super) fn of(
        parts: &'a Parts,
        access: &'a Access,
        scope: &'a Scope,
        reading: &'a Reading,
    ) -> Option<Self> {
        let tier = parts.shared_tier()?;
        if reading.turn.is_taken {
            scope.lock().claimed.begin(reading.span);
        }
        reading.turn.is_taken.then_some(Self { parts, tier, access, scope, reading })
    }

    /// Waits until this process may read, or another one has saved something of the span.
    pub(super) async fn wait(&self) -> FirstLook {
        if self.scope.lock().claimed.is_granted(self.reading.span) {
            return FirstLook::Turn;
        }
        loop {
            if self.reading.turn.has_news.swap(false, Relaxed) {
                return FirstLook::News;
            }
            let (span, version) = (self.reading.span, self.scope.tier_version());
            let turn = self.tier.take_turn(&self.scope.tier_scope(), span, version).await;
            adopt_news(self.parts, self.access, self.scope, turn.news);
            if self.reading.turn.has_news.swap(false, Relaxed) {
                return FirstLook::News;
            }
            if turn.is_mine {
                return FirstLook::Turn;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps the turn while the reading goes on. One that is held up by those who take its rows lets other processes read; returns
    /// if it would go on and they have read something, or read.
    pub(super) async fn hold(&self) {
        let turn = &self.reading.turn;
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = turn.wants_back.notified() => {}
            }
            if turn.is_held_up.load(Relaxed) {
                if !turn.is_given_up.swap(true, Relaxed) {
                    self.parts.share_soon();
                    self.tier.end_turns(&self.scope.tier_scope(), &[turn_of(self.reading.span)]);
                }
                continue;
            }
            let version = self.scope.tier_version();
            let taken = self.tier.take_turn(&self.scope.tier_scope(), self.reading.span, version).await;
            adopt_news(self.parts, self.access, self.scope, taken.news);
            if turn.is_given_up.load(Relaxed) {
                if !taken.is_mine || turn.has_news.load(Relaxed) {
                    return;
                }
                turn.is_given_up.store(false, Relaxed);
                turn.is_back.notify_waiters();
            }
        }
    }
}

impl Drop for ReadTurns<'_> {
    fn drop(&mut self) {
        self.scope.lock().claimed.end(self.reading.span);
        self.parts.share_soon();
    }
}
