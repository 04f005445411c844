//! The cells of scopes in a server: reads them, and writes them by compare-and-set.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::kept_rows;
use super::reply::{CallError, ServerReply};
use super::scripts::{COMMIT, WEEKS, marks_key, scope_key};
use super::server::Server;
use crate::domain::Timestamp;
use crate::sealed::format::{decode_cell, encode_cell};
use crate::sealed::{RecordKind, RecordName, TierKeys, TierSecret, Unsealed, lay_over, not_void, weeks_of};
use crate::store::EntryKey;
use crate::tier::{Cell, Saved, ScopeChanges, TierScope};

/// How many weeks one command writes.
const BATCH: usize = 8;

/// How many names one command looks for.
const NAMES: usize = 256;

/// How often a write is tried, if another process wrote first or its outcome is unknown.
const TRIES: usize = 6;

/// A cell in the server.
#[derive(Clone, Debug)]
pub(super) struct FoundCell {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// Its version, in digits.
    pub(super) version: Vec<u8>,
    /// The sealed cell; `None` if the reply leaves it out.
    pub(super) sealed: Option<Vec<u8>>,
}

/// Writes what changed in a scope.
pub(super) struct CellWriter<'a> {
    pub(super) server: &'a Server,
    pub(super) secret: &'a TierSecret,
    pub(super) scope: &'a TierScope,
    /// When what is written expires.
    pub(super) lifetime: Duration,
    /// Until when reads of the scope are void.
    pub(super) void_until: Option<Timestamp>,
    /// How often another process wrote first.
    pub(super) conflicts: u64,
}

impl FoundCell {
    /// Reads a cell from a part of a reply.
    pub(super) fn of(reply: ServerReply) -> Option<Self> {
        let mut parts = reply.list().into_iter();
        let (name, version) = (parts.next()?.bytes()?, parts.next()?.bytes()?);
        Some(Self { name, version, sealed: parts.next().and_then(ServerReply::bytes) })
    }

    /// Opens the cell.
    ///
    /// # Errors
    /// It is damaged, another version's, or not this scope's cell under these keys.
    pub(super) fn open(self, keys: &TierKeys, scope: &TierScope) -> Result<Cell, Unsealed> {
        let name = self.name.try_into().map(RecordName::from_bytes).map_err(|_| Unsealed::Corrupt)?;
        let mut sealed = self.sealed.unwrap_or_default();
        let plain = keys.sealer.open(RecordKind::Cell, &name, &mut sealed)?;
        let cell = decode_cell(plain, scope.key).ok_or(Unsealed::Corrupt)?;
        // The seal only proves the name: a cell under the name of another week or scope is refused here.
        if keys.names.cell(&scope.key, cell.week) == name { Ok(cell) } else { Err(Unsealed::Corrupt) }
    }
}

/// Runs `WEEKS` under a line of the secret. Returns the epoch of the void marks, and the cells found by week.
async fn find(
    server: &Server,
    keys: &TierKeys,
    scope: &TierScope,
    what: &[u8],
    weeks: &[i64],
) -> Result<(Vec<u8>, HashMap<i64, FoundCell>), CallError> {
    let names: Vec<_> = weeks.iter().map(|week| *keys.names.cell(&scope.key, *week).as_bytes()).collect();
    let mut words: Vec<&[u8]> = vec![what];
    words.extend(names.iter().map(<[u8; 16]>::as_slice));
    let lists = [scope_key(keys, &scope.key), marks_key(keys)];
    let reply = server.bulk_script(&WEEKS, &[&lists[0], &lists[1]], &words).await?;
    let mut reply = reply.list().into_iter();
    let epoch = reply.next().and_then(ServerReply::bytes).unwrap_or_default();
    let cells = reply.filter_map(FoundCell::of).filter_map(|cell| {
        let at = names.iter().position(|name| name[..] == cell.name[..])?;
        Some((weeks[at], cell))
    });
    Ok((epoch, cells.collect()))
}

impl CellWriter<'_> {
    /// Writes the bytes of entries first, then the cells that name them.
    ///
    /// # Errors
    /// The server is away, refuses, or other processes wrote first each time.
    pub(super) async fn save(&mut self, changes: &ScopeChanges) -> Result<Saved, CallError> {
        let seconds = self.lifetime.as_secs().max(1);
        kept_rows::put(self.server, self.secret.first(), &changes.rows, seconds).await?;
        let weeks: Vec<_> = self.weeks(changes).await?.into_iter().collect();
        let mut whole: Option<(u64, u64)> = None;
        for batch in weeks.chunks(BATCH) {
            let (before, after) = self.commit(changes, batch).await?;
            whole = match whole {
                None => Some((before, after)),
                Some((first, last)) if last == before => Some((first, after)),
                // Another process saved in between. The engine does not know `after` yet, so it will load what changed.
                Some(_) => Some((after, after)),
            };
        }
        let (before, after) = whole.unwrap_or_default();
        Ok(Saved::Yes { before, after })
    }

    /// Returns the weeks to write: those with a new cell, and those in the server that contain forgotten spans.
    async fn weeks(&self, changes: &ScopeChanges) -> Result<BTreeSet<i64>, CallError> {
        let mut weeks: BTreeSet<_> = changes.cells.iter().map(|cell| cell.week).collect();
        let others: Vec<_> = weeks_of(changes).difference(&weeks).copied().collect();
        for names in others.chunks(NAMES) {
            for keys in self.secret.all() {
                let (_, found) = find(self.server, keys, self.scope, b"names", names).await?;
                weeks.extend(found.into_keys());
            }
        }
        Ok(weeks)
    }

    /// Writes some weeks. Returns the scope's versions before and after.
    async fn commit(&mut self, changes: &ScopeChanges, weeks: &[i64]) -> Result<(u64, u64), CallError> {
        let keys = self.secret.first();
        let mut sent: HashMap<i64, Vec<u8>> = HashMap::new();
        let mut last = CallError::Unknown("other processes wrote first each time".to_owned());
        for _ in 0..TRIES {
            let (epoch, mut found) = find(self.server, keys, self.scope, b"cells", weeks).await?;
            if epoch.is_empty() {
                return Err(CallError::Refused("there are no void marks".to_owned()));
            }
            // An earlier attempt whose reply was lost may have succeeded.
            let is_there = |(week, sealed): (&i64, &Vec<u8>)| match found.get(week) {
                Some(cell) => cell.sealed.as_ref() == Some(sealed),
                None => sealed.is_empty(),
            };
            if !sent.is_empty() && sent.iter().all(is_there) {
                let versions = found.values().filter_map(|cell| number(&cell.version));
                let after = versions.max().unwrap_or_default();
                return Ok((after, after));
            }
            let older = self.older(weeks, &found).await?;
            let mut words = vec![epoch, self.lifetime.as_secs().max(1).to_string().into_bytes()];
            let mut confirmed = HashSet::new();
            for week in weeks {
                let there = found.remove(week);
                let version = there.as_ref().map(|cell| cell.version.clone()).unwrap_or_default();
                let kept = there.map(|cell| cell.open(keys, self.scope));
                let kept = match kept {
                    // A cell that can't be opened is damaged: another version's cells have other names.
                    Some(Ok(cell)) => cell,
                    Some(Err(_)) | None => older.get(week).cloned().unwrap_or_else(|| Cell::empty(*week)),
                };
                // Void marks under an older line are lost when that line is removed, so void rows must not move.
                let kept = not_void(&kept, self.void_until);
                let new = changes.cells.iter().find(|cell| cell.week == *week);
                let laid = lay_over(&kept, &changes.forgotten, new);
                confirmed.extend(self.confirmed(&kept, &laid));
                let sealed = self.seal(keys, &laid)?;
                sent.insert(*week, sealed.clone());
                words.extend([keys.names.cell(&self.scope.key, *week).as_bytes().to_vec(), version, sealed]);
            }
            let lists = [scope_key(keys, &self.scope.key), marks_key(keys)];
            let words: Vec<_> = words.iter().map(Vec::as_slice).collect();
            match self.server.bulk_script(&COMMIT, &[&lists[0], &lists[1]], &words).await {
                Ok(reply) => {
                    if let Some(versions) = committed(&reply) {
                        let confirmed: Vec<_> = confirmed.into_iter().collect();
                        kept_rows::keep(self.server, keys, &confirmed, self.lifetime.as_secs()).await;
                        return Ok(versions);
                    }
                    self.conflicts += 1;
                }
                Err(CallError::Unknown(why)) => last = CallError::Unknown(why),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Reads cells of weeks that are missing under the first line of the secret from under the older lines.
    async fn older(
        &self,
        weeks: &[i64],
        found: &HashMap<i64, FoundCell>,
    ) -> Result<HashMap<i64, Cell>, CallError> {
        let mut cells = HashMap::new();
        for keys in self.secret.all().iter().skip(1) {
            let missing: Vec<_> = weeks
                .iter()
                .filter(|week| !found.contains_key(week) && !cells.contains_key(*week))
                .copied()
                .collect();
            if missing.is_empty() {
                break;
            }
            let (_, older) = find(self.server, keys, self.scope, b"cells", &missing).await?;
            cells.extend(
                older.into_iter().filter_map(|(week, cell)| Some((week, cell.open(keys, self.scope).ok()?))),
            );
        }
        Ok(cells)
    }

    fn seal(&self, keys: &TierKeys, cell: &Cell) -> Result<Vec<u8>, CallError> {
        if cell.segments.is_empty() {
            return Ok(Vec::new());
        }
        let name = keys.names.cell(&self.scope.key, cell.week);
        let sealed = keys.sealer.seal(RecordKind::Cell, &name, &encode_cell(cell));
        sealed.map_err(|error| CallError::Refused(error.to_string()))
    }

    /// Returns entries that a later reading confirmed, whose expiry must be renewed. An entry is renewed at most once in each
    /// quarter of its lifetime.
    fn confirmed(&self, kept: &Cell, laid: &Cell) -> Vec<EntryKey> {
        let quarter = i64::try_from(self.lifetime.as_micros() / 4).unwrap_or(i64::MAX).max(1);
        let latest = |cell: &Cell| {
            let mut latest: HashMap<EntryKey, Timestamp> = HashMap::new();
            for segment in &cell.segments {
                let named = segment.rows.as_ref().and_then(|(entry, _)| cell.entries.get(*entry));
                if let Some(entry) = named {
                    let at = latest.entry(entry.key).or_insert(segment.latest_read_at);
                    *at = segment.latest_read_at.max(*at);
                }
            }
            latest
        };
        let kept = latest(kept);
        let is_later = |key: &EntryKey, at: Timestamp| {
            kept.get(key).is_some_and(|kept| kept.as_micros() / quarter < at.as_micros() / quarter)
        };
        latest(laid).into_iter().filter(|(key, at)| is_later(key, *at)).map(|(key, _)| key).collect()
    }
}

fn committed(reply: &ServerReply) -> Option<(u64, u64)> {
    let ServerReply::List(parts) = reply else { return None };
    let [ServerReply::Bytes(word), before, after] = &parts[..] else { return None };
    let number = |part: &ServerReply| part.number().and_then(|number| u64::try_from(number).ok());
    if word == b"saved" { Some((number(before)?, number(after)?)) } else { None }
}

/// Reads a number in digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}
