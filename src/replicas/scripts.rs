//! The server's keys, and the scripts that run in it.
//!
//! ```text
//! ff1:{<namespace>}:voids        hash: e = epoch, n = number of writes, m = the sealed void marks
//! ff1:{<namespace>}:s:<scope>    hash: e = epoch, v = version; for each week v<name> = version, c<name> = its sealed cell
//! ff1:{<namespace>}:r:<entry>    the sealed bytes of an entry
//! ff1:{<namespace>}:t:<cell>     the claim of a turn, named like the cell of its week: the ID of the process that reads
//! ```
//!
//! Each line of the secret has a namespace, whose keys are in one slot. The epoch is a random number that changes when void
//! marks are lost; a scope of another epoch counts as absent. A version is the server's time in microseconds, or the previous
//! version plus one if that is more, so versions grow even after a scope was lost.

use super::connection::LuaScript;
use crate::sealed::{RecordName, TierKeys};
use crate::store::{EntryKey, ScopeKey};

/// Returns what was saved of a scope since a version, and takes the claim of a turn.
///
/// Keys: scope, marks, and optionally a claim. Arguments: version, most bytes of cells, claimant, milliseconds that a claim holds.
/// Returns 1 if the claim is the claimant's, the epoch and number of the marks, the scope's version, and for each newer cell its
/// name, its version and its bytes, which are left out once they exceed the most bytes.
pub(super) static NEWS: LuaScript = LuaScript::new(
    "local mine = 1
if KEYS[3] then
  local by = redis.call('GET', KEYS[3])
  if by and by ~= ARGV[3] then mine = 0 else redis.pcall('SET', KEYS[3], ARGV[3], 'PX', ARGV[4]) end
end
local marks = redis.call('HMGET', KEYS[2], 'e', 'n')
local scope = redis.call('HMGET', KEYS[1], 'e', 'v')
local reply = {mine, marks[1] or '', marks[2] or '', '0'}
if not marks[1] or scope[1] ~= marks[1] then return reply end
local version, since = tonumber(scope[2]) or 0, tonumber(ARGV[1])
reply[4] = scope[2] or '0'
if version == since then return reply end
if version < since then since = 0 end
local room = tonumber(ARGV[2])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if #field == 17 and string.sub(field, 1, 1) == 'v' then
    local at = redis.call('HGET', KEYS[1], field)
    if at and (tonumber(at) or 0) > since then
      local name = string.sub(field, 2)
      local size = redis.call('HSTRLEN', KEYS[1], 'c' .. name)
      local cell = false
      if size <= room then
        cell = redis.call('HGET', KEYS[1], 'c' .. name)
        room = room - size
      end
      reply[#reply + 1] = {name, at, cell}
    end
  end
end
return reply",
);

/// Returns which of the given cells a scope has.
///
/// Keys: scope, marks. Arguments: `names` or `cells`, then names. Returns the epoch, and for each cell its name, its version and,
/// with `cells`, its bytes.
pub(super) static WEEKS: LuaScript = LuaScript::new(
    "local epoch = redis.call('HGET', KEYS[2], 'e') or ''
local reply = {epoch}
if redis.call('HGET', KEYS[1], 'e') ~= epoch then return reply end
for i = 2, #ARGV do
  local at = redis.call('HGET', KEYS[1], 'v' .. ARGV[i])
  if at then
    reply[#reply + 1] = {ARGV[i], at, ARGV[1] == 'cells' and redis.call('HGET', KEYS[1], 'c' .. ARGV[i])}
  end
end
return reply",
);

/// Writes cells of a scope if their versions have not changed.
///
/// Keys: scope, marks. Arguments: epoch, seconds to live, and for each cell its name, its known version (empty if there is none)
/// and the sealed cell (empty to remove it). Returns `saved` and the scope's versions before and after; `conflict`; or `epoch`.
pub(super) static COMMIT: LuaScript = LuaScript::new(
    "if redis.call('HGET', KEYS[2], 'e') ~= ARGV[1] then return {'epoch'} end
local scope = redis.call('HMGET', KEYS[1], 'e', 'v')
local known = scope[1] == ARGV[1]
for i = 3, #ARGV, 3 do
  local at = known and redis.call('HGET', KEYS[1], 'v' .. ARGV[i]) or ''
  if at ~= ARGV[i + 1] then return {'conflict'} end
end
if not known then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local before = known and tonumber(scope[2]) or 0
local after = math.max(before + 1, time[1] * 1000000 + time[2])
local version = string.format('%.0f', after)
redis.call('HSET', KEYS[1], 'e', ARGV[1], 'v', version)
for i = 3, #ARGV, 3 do
  if ARGV[i + 2] == '' then
    redis.call('HDEL', KEYS[1], 'v' .. ARGV[i], 'c' .. ARGV[i])
  else
    redis.call('HSET', KEYS[1], 'v' .. ARGV[i], version, 'c' .. ARGV[i], ARGV[i + 2])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {'saved', string.format('%.0f', before), version}",
);

/// Removes cells whose versions have not changed. Key: scope. Arguments: a name and a version for each.
pub(super) static DROP: LuaScript = LuaScript::new(
    "for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], 'v' .. ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], 'v' .. ARGV[i], 'c' .. ARGV[i])
  end
end
return 1",
);

/// Removes the claimant's own claims. Keys: claims. Argument: claimant.
pub(super) static RELEASE: LuaScript = LuaScript::new(
    "for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
return 1",
);

/// Returns the void marks, unless the caller knows them. Key: marks. Arguments: the known epoch and number.
/// Returns the epoch and number, and the record if either differs; nothing if there are no marks.
pub(super) static LOOK: LuaScript = LuaScript::new(
    "local marks = redis.call('HMGET', KEYS[1], 'e', 'n')
if not marks[1] then return {} end
if marks[1] == ARGV[1] and marks[2] == ARGV[2] then return {marks[1], marks[2]} end
return {marks[1], marks[2] or '', redis.call('HGET', KEYS[1], 'm') or ''}",
);

/// Writes the void marks if they have not changed. Key: marks. Arguments: the known epoch and number (empty if there are none), the
/// new epoch, the sealed marks. Returns the new number, or nothing.
pub(super) static MARK: LuaScript = LuaScript::new(
    "local marks = redis.call('HMGET', KEYS[1], 'e', 'n')
if (marks[1] or '') ~= ARGV[1] or (marks[2] or '') ~= ARGV[2] then return false end
local number = string.format('%.0f', (tonumber(marks[2]) or 0) + 1)
redis.call('HSET', KEYS[1], 'e', ARGV[3], 'n', number, 'm', ARGV[4])
return number",
);

/// The key of the void marks.
pub(super) fn marks_key(keys: &TierKeys) -> Vec<u8> {
    format!("ff1:{{{}}}:voids", keys.names.namespace()).into_bytes()
}

/// The key of a scope.
pub(super) fn scope_key(keys: &TierKeys, scope: &ScopeKey) -> Vec<u8> {
    named(keys, 's', &keys.names.scope(scope))
}

/// The key of an entry's bytes.
pub(super) fn rows_key(keys: &TierKeys, entry: &EntryKey) -> Vec<u8> {
    named(keys, 'r', &keys.names.entry(entry))
}

/// The key of the claim of a turn.
pub(super) fn claim_key(keys: &TierKeys, scope: &ScopeKey, week: i64) -> Vec<u8> {
    named(keys, 't', &keys.names.cell(scope, week))
}

fn named(keys: &TierKeys, kind: char, name: &RecordName) -> Vec<u8> {
    format!("ff1:{{{}}}:{kind}:{name}", keys.names.namespace()).into_bytes()
}
