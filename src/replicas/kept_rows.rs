//! The bytes of entries in a server.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, stream};

use super::reply::CallError;
use super::scripts::rows_key;
use super::server::Server;
use crate::domain::{Entry, EntryIndex};
use crate::sealed::format::{decode_rows, encode_rows};
use crate::sealed::{FileOutcome, RecordKind, TierCounters, TierKeys, TierSecret, Unsealed};
use crate::store::EntryKey;

/// How many entries one command reads, or are written at once. Larger batches would delay other commands.
const BATCH: usize = 8;

/// How many batches are in flight for one scope.
const UNDER_WAY: usize = 4;

type WantedRows = (EntryKey, Arc<EntryIndex>);

/// Reads the bytes of entries, and returns them in the order of the request.
pub(super) async fn load(
    server: &Server,
    secret: &TierSecret,
    entries: &[WantedRows],
    counters: &TierCounters,
) -> Vec<Option<Arc<Entry>>> {
    let batches: Vec<Vec<WantedRows>> = entries.chunks(BATCH).map(<[_]>::to_vec).collect();
    let rows = stream::iter(batches).map(|batch| load_batch(server, secret, batch, counters));
    let rows: Vec<_> = rows.buffered(UNDER_WAY).collect().await;
    rows.into_iter().flatten().collect()
}

async fn load_batch(
    server: &Server,
    secret: &TierSecret,
    batch: Vec<WantedRows>,
    counters: &TierCounters,
) -> Vec<Option<Arc<Entry>>> {
    let mut found = vec![None; batch.len()];
    for keys in secret.all() {
        let missing: Vec<usize> = (0..batch.len()).filter(|at| found[*at].is_none()).collect();
        if missing.is_empty() {
            break;
        }
        let names: Vec<_> = missing.iter().map(|at| rows_key(keys, &batch[*at].0)).collect();
        let mut words: Vec<&[u8]> = vec![b"MGET"];
        words.extend(names.iter().map(Vec::as_slice));
        let Ok(reply) = server.bulk_command(&words).await else {
            TierCounters::add(&counters.late);
            return found;
        };
        for (at, value) in missing.into_iter().zip(reply.list()) {
            let Some(mut sealed) = value.bytes() else { continue };
            let outcome = open(keys, &batch[at], &mut sealed);
            counters.file(match &outcome {
                Ok(_) => FileOutcome::Hit,
                Err(Unsealed::Foreign) => FileOutcome::Foreign,
                Err(Unsealed::Corrupt) => FileOutcome::Corrupt,
            });
            match outcome {
                Ok(entry) => found[at] = Some(Arc::new(entry)),
                // Otherwise each later read would fetch it for nothing.
                Err(Unsealed::Corrupt) => {
                    let _will_expire = server.command(&[b"DEL", &rows_key(keys, &batch[at].0)]).await;
                }
                Err(Unsealed::Foreign) => {}
            }
        }
    }
    found.iter().filter(|entry| entry.is_none()).for_each(|_| counters.file(FileOutcome::Miss));
    found
}

fn open(keys: &TierKeys, (key, index): &WantedRows, sealed: &mut [u8]) -> Result<Entry, Unsealed> {
    let plain = keys.sealer.open(RecordKind::Rows, &keys.names.entry(key), sealed)?;
    decode_rows(plain, index).ok_or(Unsealed::Corrupt)
}

/// Writes the bytes of entries.
///
/// # Errors
/// The first failure. Some of the entries may have been written.
pub(super) async fn put(
    server: &Server,
    keys: &TierKeys,
    rows: &[(EntryKey, Arc<Entry>)],
    seconds: u64,
) -> Result<(), CallError> {
    let seconds = seconds.to_string();
    for batch in rows.chunks(BATCH) {
        let mut sealed = Vec::with_capacity(batch.len());
        for (key, entry) in batch {
            let plain = encode_rows(entry);
            let name = keys.names.entry(key);
            let record = plain.and_then(|plain| keys.sealer.seal(RecordKind::Rows, &name, &plain));
            let record = record.map_err(|error| CallError::Refused(error.to_string()))?;
            sealed.push((rows_key(keys, key), record));
        }
        let set = sealed.iter().map(|(name, record)| {
            let words: [&[u8]; 5] = [b"SET", name, record, b"EX", seconds.as_bytes()];
            async move { server.bulk_command(&words).await }
        });
        try_join_all(set).await?;
    }
    Ok(())
}

/// Renews the expiry of entries. Entries that have gone stay gone.
pub(super) async fn keep(server: &Server, keys: &TierKeys, entries: &[EntryKey], seconds: u64) {
    let seconds = seconds.to_string();
    for batch in entries.chunks(BATCH) {
        let names: Vec<_> = batch.iter().map(|key| rows_key(keys, key)).collect();
        let expire = names.iter().map(|name| {
            let words: [&[u8]; 3] = [b"EXPIRE", name, seconds.as_bytes()];
            async move { server.bulk_command(&words).await }
        });
        join_all(expire).await;
    }
}
