//! Loads cells from a server and saves them. Never returns what is void, too old, or read in the future.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

use super::kept_cells::{CellWriter, FoundCell, number};
use super::reply::{CallError, ServerReply};
use super::scripts::{DROP, NEWS, claim_key, marks_key, scope_key};
use super::server::Server;
use super::shared_marks::{RecordStamp, SharedMarks};
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::sealed::{FileOutcome, SampledLine, TierCounters, TierKeys, TierSecret, Unsealed, not_void, only};
use crate::tier::{Cell, Saved, ScopeChanges, TierNews, TierScope, TierVersion, Turn};

/// How far another machine's clock may be ahead. Rows that claim to have been read later than that are left out.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// The most bytes of cells in the reply of `NEWS`. The others are fetched over the bulk connection, so that they don't delay
/// commands.
const MOST_BYTES: &str = "262144";

/// How many cells one command fetches.
const CELLS: usize = 8;

/// How many such commands are in flight for one scope.
const UNDER_WAY: usize = 4;

/// How long a claim holds unless it is renewed, in milliseconds.
const CLAIM_MILLIS: &str = "3000";

/// The state that all tasks of a tier share.
pub(super) struct SharedReplicas {
    pub(super) server: Arc<Server>,
    pub(super) secret: Mutex<Arc<TierSecret>>,
    pub(super) marks: SharedMarks,
    pub(super) counters: TierCounters,
    pub(super) claims: [AtomicU64; 2],
    pub(super) conflicts: AtomicU64,
    pub(super) clock: SteadyClock,
    /// Rows older than this are neither served nor kept.
    pub(super) max_age: Duration,
    /// A random ID of this process, which owns its claims.
    pub(super) id: Vec<u8>,
    pub(super) unreadable: SampledLine,
    pub(super) cannot_write: SampledLine,
}

/// The reply of `NEWS`.
struct FoundNews {
    is_mine: bool,
    stamp: RecordStamp,
    version: TierVersion,
    cells: Vec<FoundCell>,
}

impl SharedReplicas {
    /// The secret in force.
    pub(super) fn secret(&self) -> Arc<TierSecret> {
        Arc::clone(&self.secret.lock())
    }

    /// Reads the void marks that other processes wrote, and writes those that the server lacks.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub(super) async fn sync_marks(&self, secret: &TierSecret) -> Result<(), CallError> {
        for keys in secret.all() {
            self.marks.sync(&self.server, keys, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Returns what was saved of a scope since a version, and claims a turn if one is given.
    pub(super) async fn news(&self, scope: &TierScope, since: TierVersion, claimed: Option<i64>) -> Turn {
        let (began, secret) = (Instant::now(), self.secret());
        let mut turn = Turn { is_mine: true, news: TierNews { version: since, cells: Vec::new() } };
        let (mut weeks, mut is_found, mut version) = (HashSet::new(), false, 0);
        let mut looked = Vec::new();
        for (line, keys) in secret.all().iter().enumerate() {
            let claimed = claimed.filter(|_| line == 0);
            let Ok(found) = self.look(keys, scope, since, claimed).await else {
                TierCounters::add(&self.counters.late);
                return turn;
            };
            looked.push((keys, found));
        }
        // A process whose secret has other lines may have written its void mark under any of these.
        let void_until = self.void_until(&secret, scope);
        for (keys, found) in looked {
            turn.is_mine &= found.is_mine;
            is_found |= found.version > 0;
            let Some(cells) = self.open_all(keys, scope, found.cells, void_until).await else {
                return turn;
            };
            version = found.version.max(version);
            // If a move to a newer line was interrupted, a week is found under both. The newer line counts.
            turn.news.cells.extend(cells.into_iter().filter(|cell| weeks.insert(cell.week)));
        }
        if !is_found {
            self.counters.file(FileOutcome::Miss);
        }
        if claimed.is_some() {
            TierCounters::add(&self.claims[usize::from(!turn.is_mine)]);
        }
        if version > 0 {
            turn.news.version = version;
        }
        self.counters.read_for(began.elapsed());
        turn
    }

    /// Runs `NEWS` under one line of the secret, and makes sure that the void marks in force at that moment are known.
    async fn look(
        &self,
        keys: &TierKeys,
        scope: &TierScope,
        since: TierVersion,
        claimed: Option<i64>,
    ) -> Result<FoundNews, CallError> {
        let mut names = vec![scope_key(keys, &scope.key), marks_key(keys)];
        names.extend(claimed.map(|week| claim_key(keys, &scope.key, week)));
        let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
        let since = since.to_string();
        let words: [&[u8]; 4] = [since.as_bytes(), MOST_BYTES.as_bytes(), &self.id, CLAIM_MILLIS.as_bytes()];
        let reply = self.server.script(&NEWS, &names, &words).await?.list();
        let mut found = FoundNews::of(reply)
            .ok_or_else(|| CallError::Refused("the reply has an unknown form".to_owned()))?;
        if !self.marks.knows(keys, &found.stamp) {
            self.marks.sync(&self.server, keys, self.clock.now()).await?;
            if !self.marks.knows(keys, &found.stamp) {
                // The marks changed again meanwhile, so what was found may be void.
                found.cells.clear();
                found.version = 0;
            }
        }
        Ok(found)
    }

    /// Returns the latest instant until which reads of a scope are void, by the marks under any line of the secret.
    pub(super) fn void_until(&self, secret: &TierSecret, scope: &TierScope) -> Option<Timestamp> {
        secret.all().iter().filter_map(|keys| self.marks.void_until(keys, scope)).max()
    }

    /// Opens cells, and returns what may be served of them. `None` if some of them could not be fetched.
    async fn open_all(
        &self,
        keys: &TierKeys,
        scope: &TierScope,
        found: Vec<FoundCell>,
        void_until: Option<Timestamp>,
    ) -> Option<Vec<Cell>> {
        let (mut there, apart): (Vec<_>, Vec<_>) = found.into_iter().partition(|cell| cell.sealed.is_some());
        let key = scope_key(keys, &scope.key);
        let batches: Vec<Vec<FoundCell>> = apart.chunks(CELLS).map(<[_]>::to_vec).collect();
        let fetched = stream::iter(batches).map(|batch| self.fetch(&key, batch)).buffered(UNDER_WAY);
        for batch in fetched.collect::<Vec<_>>().await {
            there.extend(batch?);
        }
        let (mut cells, mut useless) = (Vec::new(), Vec::new());
        for found in there {
            let (name, version) = (found.name.clone(), found.version.clone());
            let may_be_served = match found.open(keys, scope) {
                Ok(cell) => {
                    self.counters.file(FileOutcome::Hit);
                    self.served(&cell, void_until)
                }
                Err(error) => self.unusable(error),
            };
            match may_be_served {
                Some(cell) if !cell.segments.is_empty() => cells.push(cell),
                Some(_) => useless.extend([name, version]),
                None => {}
            }
        }
        if !useless.is_empty() {
            let words: Vec<_> = useless.iter().map(Vec::as_slice).collect();
            let _will_expire = self.server.script(&DROP, &[&key], &words).await;
        }
        Some(cells)
    }

    /// Returns what may be served of a cell: an empty cell if nothing ever will, `None` if nothing may yet.
    fn served(&self, cell: &Cell, void_until: Option<Timestamp>) -> Option<Cell> {
        let now = self.clock.now();
        let lives = only(&not_void(cell, void_until), |segment| now.since(segment.read_at) <= self.max_age);
        let latest = now.plus(CLOCK_TOLERANCE);
        let served = only(&lives, |segment| segment.latest_read_at <= latest);
        // Segments from the future may be served later.
        (lives.segments.is_empty() || !served.segments.is_empty()).then_some(served)
    }

    /// Counts a cell that can't be opened. Returns `None` if another version wrote it, which may still need it, and an empty cell
    /// if no version can use it.
    fn unusable(&self, error: Unsealed) -> Option<Cell> {
        let (outcome, left) = match error {
            Unsealed::Foreign => (FileOutcome::Foreign, None),
            Unsealed::Corrupt => (FileOutcome::Corrupt, Some(Cell::empty(0))),
        };
        self.counters.file(outcome);
        if let Some(left_out) = self.unreadable.next() {
            tracing::warn!(target: "fanfold::tier", problem = %error, lines_left_out = left_out, "A value in the tier can't be used, so its rows are read from upstream again: {error}.");
        }
        left
    }

    async fn fetch(&self, key: &[u8], mut batch: Vec<FoundCell>) -> Option<Vec<FoundCell>> {
        let fields: Vec<_> = batch.iter().map(|cell| [b"c", &cell.name[..]].concat()).collect();
        let mut words: Vec<&[u8]> = vec![b"HMGET", key];
        words.extend(fields.iter().map(Vec::as_slice));
        let Ok(reply) = self.server.bulk_command(&words).await else {
            TierCounters::add(&self.counters.late);
            return None;
        };
        for (cell, value) in batch.iter_mut().zip(reply.list()) {
            cell.sealed = value.bytes();
        }
        // A cell that has gone since was written again or voided.
        batch.retain(|cell| cell.sealed.is_some());
        Some(batch)
    }

    /// Writes what changed in a scope.
    pub(super) async fn save(&self, scope: &TierScope, changes: &ScopeChanges) -> Saved {
        let (began, secret) = (Instant::now(), self.secret());
        let synced = self.sync_marks(&secret).await;
        let void_until = self.void_until(&secret, scope);
        let mut writer = CellWriter {
            server: &self.server,
            secret: &secret,
            scope,
            lifetime: self.max_age,
            void_until,
            conflicts: 0,
        };
        let cells = changes.cells.iter().map(|cell| not_void(cell, void_until));
        let changes = ScopeChanges { cells: cells.collect(), ..changes.clone() };
        let saved = match synced {
            Ok(()) => writer.save(&changes).await,
            Err(error) => Err(error),
        };
        self.conflicts.fetch_add(writer.conflicts, Ordering::Relaxed);
        self.counters.wrote_for(began.elapsed());
        match saved {
            Ok(saved) => {
                TierCounters::add(&self.counters.saved);
                saved
            }
            Err(CallError::Away) => {
                TierCounters::add(&self.counters.away);
                Saved::No
            }
            Err(error @ (CallError::Unknown(_) | CallError::Refused(_))) => {
                TierCounters::add(&self.counters.failed);
                if let Some(left_out) = self.cannot_write.next() {
                    tracing::warn!(target: "fanfold::tier", %error, lines_left_out = left_out, "The tier can't be written: {error}. Rows are served from memory.");
                }
                Saved::No
            }
        }
    }
}

impl FoundNews {
    fn of(reply: Vec<ServerReply>) -> Option<Self> {
        let mut parts = reply.into_iter();
        let is_mine = parts.next()?.number()? == 1;
        let stamp = RecordStamp { epoch: parts.next()?.bytes()?, number: parts.next()?.bytes()? };
        let version = number(&parts.next()?.bytes()?)?;
        Some(Self { is_mine, stamp, version, cells: parts.filter_map(FoundCell::of).collect() })
    }
}
