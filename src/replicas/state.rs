//! What a server keeps of scopes, as far as it may be served.

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

/// How far another machine's clock may be ahead. What was read later than that is left out.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// The most bytes of cells in one reply. The others are fetched apart, so that commands are not held up.
const MOST_BYTES: &str = "262144";

/// How many cells are fetched at once.
const CELLS: usize = 8;

/// How many such batches are under way for one scope.
const UNDER_WAY: usize = 4;

/// How long a claim holds without being renewed, in milliseconds.
const CLAIM_MILLIS: &str = "3000";

/// What the tasks of a tier share.
pub(super) struct SharedReplicas {
    pub(super) server: Arc<Server>,
    pub(super) secret: Mutex<Arc<TierSecret>>,
    pub(super) marks: SharedMarks,
    pub(super) counters: TierCounters,
    pub(super) claims: [AtomicU64; 2],
    pub(super) conflicts: AtomicU64,
    pub(super) clock: SteadyClock,
    /// Nothing older is served, and nothing is kept for longer.
    pub(super) max_age: Duration,
    /// Who claims.
    pub(super) id: Vec<u8>,
    pub(super) unreadable: SampledLine,
    pub(super) cannot_write: SampledLine,
}

/// The reply to a look for news.
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

    /// Reads void marks that others wrote, and writes those that the server lacks.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub(super) async fn sync_marks(&self, secret: &TierSecret) -> Result<(), CallError> {
        for keys in secret.all() {
            self.marks.sync(&self.server, keys, self.clock.now()).await?;
        }
        Ok(())
    }

    /// What was saved of a scope since a version, and whether this process may read in a turn.
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
        // A process with other lines may have marked it under any of these.
        let void_until = self.void_until(&secret, scope);
        for (keys, found) in looked {
            turn.is_mine &= found.is_mine;
            is_found |= found.version > 0;
            let Some(cells) = self.open_all(keys, scope, found.cells, void_until).await else {
                return turn;
            };
            version = found.version.max(version);
            // The same week under an older line is what an interrupted move left.
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

    /// Looks for news under a line of the secret, with the void marks that are in force then.
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
        let mut found =
            FoundNews::of(reply).ok_or_else(|| CallError::Refused("a strange reply".to_owned()))?;
        if !self.marks.knows(keys, &found.stamp) {
            self.marks.sync(&self.server, keys, self.clock.now()).await?;
            if !self.marks.knows(keys, &found.stamp) {
                // Written or lost at this moment. What was found may be void by now.
                found.cells.clear();
                found.version = 0;
            }
        }
        Ok(found)
    }

    /// What is void of a scope by the marks under any line of the secret.
    pub(super) fn void_until(&self, secret: &TierSecret, scope: &TierScope) -> Option<Timestamp> {
        secret.all().iter().filter_map(|keys| self.marks.void_until(keys, scope)).max()
    }

    /// What may be served of some cells. None if a part of them could not be fetched.
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
            let _goes_by_itself = self.server.script(&DROP, &[&key], &words).await;
        }
        Some(cells)
    }

    /// What may be served of a cell; an empty one if nothing ever will.
    fn served(&self, cell: &Cell, void_until: Option<Timestamp>) -> Option<Cell> {
        let now = self.clock.now();
        let lives = only(&not_void(cell, void_until), |segment| now.since(segment.read_at) <= self.max_age);
        let latest = now.plus(CLOCK_TOLERANCE);
        let served = only(&lives, |segment| segment.latest_read_at <= latest);
        // What is from the future will be served later.
        (lives.segments.is_empty() || !served.segments.is_empty()).then_some(served)
    }

    /// Nothing if the cell is another version's, which may need it; an empty cell if nobody can use it.
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
        // One that is gone meanwhile has been written again, or voided.
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
                    tracing::warn!(target: "fanfold::tier", %error, lines_left_out = left_out, "The tier took nothing: {error}. Rows are served from memory.");
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
