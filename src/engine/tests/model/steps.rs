//! The steps of a case: strategies, and the effect of each step on the list.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::FutureExt as _;
use proptest::prelude::*;

use crate::engine::tests::script::{Compare, Fact, Listed, ScriptTotals, unavailable, words};
use crate::engine::tests::{DAY, Duration, NOW, Rig, SECOND};
use crate::source::SourceError;

#[derive(Clone, Debug)]
pub(super) enum ModelStep {
    Insert {
        count: u32,
        apart_ms: u32,
        status: usize,
    },
    InsertTies {
        count: u32,
        hours_ago: u32,
    },
    InsertLate {
        shown_after_ms: u32,
    },
    InsertUndated {
        status: usize,
    },
    Change {
        which: usize,
        status: usize,
    },
    ChangeBatch {
        first: usize,
        count: usize,
        status: usize,
    },
    Delete {
        which: usize,
    },
    DeleteBatch {
        first: usize,
        count: usize,
    },
    Pass {
        ms: u32,
    },
    /// The bytes of some rows are dropped; their index stays.
    Evict {
        every: u64,
    },
    /// The index of some rows without bytes is dropped as well, or only columns of some rows.
    Shed {
        bytes: u64,
    },
    /// The tier loses the bytes of some entries, and from now on refuses or accepts what is saved.
    TierTrouble {
        every: u64,
        is_full: bool,
    },
    /// Everything that is stored for the agent is forgotten.
    Purge,
    /// A gateway is replaced by another one with the same tier.
    Restart,
    Fail {
        pages: u64,
    },
    /// A single page is refused although the key is valid.
    Stray {
        page: u64,
    },
    /// The key is refused until the next question is answered.
    Revoke,
    /// A page is empty and says that more follow.
    Hollow {
        page: u32,
    },
    /// Simultaneous questions, and a step that happens this many milliseconds later.
    Ask {
        asked: Vec<ModelAsked>,
        meanwhile: Option<(u32, Box<ModelStep>)>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct ModelAsked {
    pub(super) after_ms: u32,
    /// No status means all rows, several mean rows with any of them.
    pub(super) statuses: Vec<usize>,
    pub(super) voice_mail: Option<bool>,
    pub(super) from_hours: Option<u32>,
    pub(super) to_hours: Option<u32>,
    /// The number of newest rows to return.
    pub(super) limit: Option<u32>,
    pub(super) way: ModelWay,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ModelWay {
    Collected,
    Streamed,
    /// Streamed, with this many milliseconds between slices.
    Slowly {
        ms: u32,
    },
    Reloaded,
    /// Collected for the verdict alone, which needs no bytes; some of them as totals, from columns or, if
    /// there are none, from bytes.
    Described,
    /// Streamed, after the known verdict differed from the caller's validator.
    Conditional,
    /// With `no-store`.
    Unkept,
    /// With `max-stale`.
    Stale {
        ms: u32,
    },
    /// The caller leaves after this many milliseconds.
    Abandoned {
        ms: u32,
    },
}

pub(super) const STATUSES: [&str; 5] = ["completed", "in-progress", "queued", "no-answer", "failed"];

fn asked() -> impl Strategy<Value = ModelAsked> {
    let hours = || proptest::option::of(0u32..24 * 16);
    let way = prop_oneof![
        4 => Just(ModelWay::Collected),
        3 => Just(ModelWay::Streamed),
        2 => (1u32..400).prop_map(|ms| ModelWay::Slowly { ms }),
        4 => Just(ModelWay::Reloaded),
        4 => Just(ModelWay::Described),
        2 => Just(ModelWay::Conditional),
        2 => Just(ModelWay::Unkept),
        1 => (0u32..20_000).prop_map(|ms| ModelWay::Stale { ms }),
        2 => (1u32..120).prop_map(|ms| ModelWay::Abandoned { ms }),
    ];
    let statuses = prop_oneof![
        4 => Just(Vec::new()),
        4 => (0usize..5).prop_map(|status| vec![status]),
        2 => proptest::collection::vec(0usize..5, 2..4),
    ];
    let voice_mail = proptest::option::weighted(0.15, any::<bool>());
    let limit = proptest::option::weighted(0.3, 1u32..120);
    (0u32..60, statuses, voice_mail, hours(), hours(), limit, way).prop_map(
        |(after_ms, statuses, voice_mail, from_hours, to_hours, limit, way)| ModelAsked {
            after_ms,
            statuses,
            voice_mail,
            from_hours,
            to_hours,
            limit,
            way,
        },
    )
}

fn step() -> impl Strategy<Value = ModelStep> {
    let alone = asked().prop_map(|asked| vec![ModelAsked { after_ms: 0, ..asked }]);
    let together = proptest::collection::vec(asked(), 2..5);
    let meanwhile = (1u32..150, change().prop_map(Box::new));
    prop_oneof![
        24 => change(),
        6 => (1u32..40_000).prop_map(|ms| ModelStep::Pass { ms }),
        2 => (1u32..1_500).prop_map(|ms| ModelStep::Pass { ms }),
        2 => Just(ModelStep::Restart),
        1 => (1u64..4).prop_map(|pages| ModelStep::Fail { pages }),
        1 => Just(ModelStep::Revoke),
        10 => alone.prop_map(|asked| ModelStep::Ask { asked, meanwhile: None }),
        6 => (together, proptest::option::of(meanwhile))
            .prop_map(|(asked, meanwhile)| ModelStep::Ask { asked, meanwhile }),
    ]
}

/// A change of the list, or of what is stored of it, that may also happen during a read.
fn change() -> impl Strategy<Value = ModelStep> {
    prop_oneof![
        6 => (1u32..70, 0u32..400, 0usize..5).prop_map(|(count, apart_ms, status)| ModelStep::Insert { count, apart_ms, status }),
        2 => (1u32..70, 0u32..24 * 14).prop_map(|(count, hours_ago)| ModelStep::InsertTies { count, hours_ago }),
        2 => (1u32..9_000).prop_map(|shown_after_ms| ModelStep::InsertLate { shown_after_ms }),
        8 => (any::<usize>(), 0usize..5).prop_map(|(which, status)| ModelStep::Change { which, status }),
        2 => (0usize..5).prop_map(|status| ModelStep::InsertUndated { status }),
        2 => (any::<usize>(), 2usize..80, 0usize..5)
            .prop_map(|(first, count, status)| ModelStep::ChangeBatch { first, count, status }),
        3 => any::<usize>().prop_map(|which| ModelStep::Delete { which }),
        1 => (any::<usize>(), 2usize..80).prop_map(|(first, count)| ModelStep::DeleteBatch { first, count }),
        3 => (1u64..7).prop_map(|every| ModelStep::Evict { every }),
        1 => (1u64..20_000).prop_map(|bytes| ModelStep::Shed { bytes }),
        2 => (1u64..7, any::<bool>()).prop_map(|(every, is_full)| ModelStep::TierTrouble { every, is_full }),
        1 => Just(ModelStep::Purge),
        1 => (1u64..4).prop_map(|page| ModelStep::Stray { page }),
        1 => (1u32..4).prop_map(|page| ModelStep::Hollow { page }),
    ]
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) history: u32,
    pub(super) totals: ScriptTotals,
    pub(super) compare: Compare,
    pub(super) listed: Listed,
    pub(super) jitter_ms: u64,
    pub(super) ahead: ClockAhead,
    pub(super) kept: Kept,
    pub(super) steps: Vec<ModelStep>,
}

/// Where rows are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// In memory only.
    Nowhere,
    /// In a tier of the gateway's own.
    Alone,
    /// In a tier that it shares with two others.
    Shared,
}

/// How far upstream's clock is ahead, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClockAhead {
    Learned(i64),
    Unknown(i64),
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let totals = prop_oneof![
        8 => Just(ScriptTotals::Exact),
        2 => Just(ScriptTotals::Missing),
        2 => Just(ScriptTotals::OfEverything),
        2 => Just(ScriptTotals::Off(7)),
        1 => Just(ScriptTotals::Frozen),
        1 => Just(ScriptTotals::Unsteady),
    ];
    let compare = prop_oneof![4 => Just(Compare::Exact), 1 => Just(Compare::RowsAtSeconds), 1 => Just(Compare::Ignored)];
    let listed = prop_oneof![5 => Just(Listed::NewestFirst), 1 => Just(Listed::OldestFirst), 1 => Just(Listed::ByUpdate)];
    let jitter = prop_oneof![1 => Just(0), 1 => 1u64..80];
    let ahead = prop_oneof![
        4 => Just(ClockAhead::Learned(0)),
        1 => (-5_000i64..5_000).prop_map(ClockAhead::Learned),
        1 => (-1_000i64..1_000).prop_map(ClockAhead::Unknown),
    ];
    let steps = proptest::collection::vec(step(), 1..24);
    let upstream = (totals, compare, listed, jitter, ahead);
    let kept = prop_oneof![2 => Just(Kept::Nowhere), 2 => Just(Kept::Alone), 3 => Just(Kept::Shared)];
    (any::<u64>(), 0u32..220, upstream, kept, steps).prop_map(|case| {
        let (seed, history, upstream, kept, steps) = case;
        let (totals, compare, listed, jitter_ms, ahead) = upstream;
        // A row that moves up shows only as a row that comes twice while the total stays the same, or not at
        // all.
        let is_told = compare != Compare::Ignored || totals != ScriptTotals::Unsteady;
        let listed = if is_told { listed } else { Listed::NewestFirst };
        Case { seed, history, totals, compare, listed, jitter_ms, ahead, kept, steps }
    })
}

/// Sets up upstream as the case says, with a row as old as the agent.
pub(super) fn set_up(rig: &Rig, case: &Case) {
    {
        let mut world = rig.script.world();
        world.insert(NOW.minus(14 * DAY), "completed");
        world.born = Some(NOW.minus(14 * DAY));
        (world.quirks.totals, world.quirks.compare, world.quirks.listed) =
            (case.totals, case.compare, case.listed);
        world.quirks.jitter = Duration::from_millis(case.jitter_ms);
        let (ClockAhead::Learned(ms) | ClockAhead::Unknown(ms)) = case.ahead;
        world.quirks.ahead = ms * 1_000;
    }
    if let ClockAhead::Learned(_) = case.ahead {
        rig.script.learn_clock();
    }
}

/// Applies a step to the list, if it changes the list.
pub(super) fn mutate(rig: &Rig, step: &ModelStep, case: &Case, is_early: bool) {
    let now = rig.script.now();
    let mut world = rig.script.world();
    let rows = world.rows.len().max(1);
    let newest_first = |rows: &[Fact]| {
        let mut newest_first: Vec<usize> = (0..rows.len()).collect();
        newest_first.sort_by_key(|row| Reverse(rows[*row].created_at));
        newest_first
    };
    match step {
        ModelStep::Insert { count, apart_ms, status } => {
            for n in 0..*count {
                let apart = Duration::from_millis(u64::from(n * apart_ms / count));
                let row = world.insert(now.minus(apart), STATUSES[*status]);
                world.rows[row].shown_at = now;
            }
        }
        ModelStep::InsertTies { count, hours_ago } => {
            // Upstream creates no rows in the past, so these must exist before the first question.
            if is_early {
                for _ in 0..*count {
                    let row = world.insert(now.minus(*hours_ago * 3_600 * SECOND), "completed");
                    world.rows[row].shown_at = now;
                }
            }
        }
        ModelStep::InsertLate { shown_after_ms } => {
            let row = world.insert(now, "queued");
            world.rows[row].shown_at = now.plus(Duration::from_millis(u64::from(*shown_after_ms)));
        }
        ModelStep::InsertUndated { status } => {
            // Its place follows from its neighbors if the list is sorted newest first.
            let row = world.insert(now, STATUSES[*status]);
            world.rows[row].shown_at = now;
            world.rows[row].is_dated = case.listed != Listed::NewestFirst;
        }
        ModelStep::ChangeBatch { first, count, status } => {
            let rows = newest_first(&world.rows).into_iter().skip(first % rows).take(*count);
            for (n, row) in rows.enumerate() {
                world.change(row, STATUSES[*status], now.minus(Duration::from_micros(n as u64)));
                world.rows[row].voice_mail ^= n % 3 == 0;
            }
        }
        ModelStep::Change { which, status } if which % rows < world.rows.len() => {
            world.change(which % rows, STATUSES[*status], now);
            world.rows[which % rows].voice_mail ^= which % 2 == 0;
        }
        ModelStep::Delete { which } if which % rows < world.rows.len() => {
            world.rows.remove(which % rows);
        }
        ModelStep::DeleteBatch { first, count } => {
            let mut gone: Vec<usize> =
                newest_first(&world.rows).into_iter().skip(first % rows).take(*count).collect();
            gone.sort_unstable();
            gone.into_iter().rev().for_each(|row| {
                world.rows.remove(row);
            });
        }
        ModelStep::Fail { pages } => {
            let mut left = *pages;
            world.refuse = Some(Box::new(move |_| {
                left = left.saturating_sub(1);
                (left > 0).then(unavailable)
            }));
        }
        ModelStep::Stray { page } if world.refuse.is_none() => {
            let mut left = *page;
            world.refuse = Some(Box::new(move |_| {
                left = left.checked_sub(1)?;
                (left == 0).then(|| SourceError::Denied(words(403)))
            }));
        }
        ModelStep::Revoke => {
            world.agent_refused = Some(403);
            world.refuse = Some(Box::new(|_| Some(SourceError::Denied(words(403)))));
        }
        ModelStep::Hollow { page } => world.hollow = Some(*page),
        ModelStep::Evict { every } => {
            rig.store.0.lock().unwrap().retain(|key, _| key.number % u128::from(*every) != 0);
        }
        ModelStep::TierTrouble { every, is_full } => {
            if let Some(tier) = &rig.tier {
                tier.lose_rows(|key| key.number % u128::from(*every) == 0);
                tier.is_full.store(*is_full, Relaxed);
            }
        }
        ModelStep::Shed { bytes } => {
            for scope in rig.engine.state.scopes.all() {
                let coverage = &mut scope.lock().coverage;
                if bytes % 2 == 0 {
                    coverage.shed(*bytes)
                } else {
                    coverage.shed_columns(bytes / 4)
                };
            }
        }
        ModelStep::Purge => {
            drop(world);
            let marked = rig.engine.forget(rig.question().agent).now_or_never();
            assert_eq!(marked, Some(Ok(())));
        }
        ModelStep::Change { .. }
        | ModelStep::Delete { .. }
        | ModelStep::Stray { .. }
        | ModelStep::Pass { .. }
        | ModelStep::Restart
        | ModelStep::Ask { .. } => {}
    }
}
