//! The checks of a server that `fanfold tier check` runs.

use std::time::Duration;

use super::kept_cells::FoundCell;
use super::reply::{CallError, ServerReply};
use super::scripts::{COMMIT, DROP, LOOK, NEWS, RELEASE, WEEKS, claim_key, marks_key, scope_key};
use super::server::Server;
use super::settings::ServerSettings;
use super::shared_marks::SharedMarks;
use crate::clock::SteadyClock;
use crate::domain::Timestamp;
use crate::sealed::{SecretSource, TierKeys};
use crate::tier::Finding;

/// The longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest difference between clocks that is fine, in microseconds. Beyond it, ages of rows are noticeably wrong.
const CLOCKS_APART: i64 = 250_000;

/// The commands that the user must be allowed to run, with harmless arguments. `KEY` stands for a key of the tier.
const COMMANDS: &[&[&str]] = &[
    &["get", "KEY"],
    &["mget", "KEY"],
    &["set", "KEY", "1", "PX", "1000"],
    &["del", "KEY"],
    &["expire", "KEY", "1"],
    &["hget", "KEY", "f"],
    &["hmget", "KEY", "f"],
    &["hkeys", "KEY"],
    &["hstrlen", "KEY", "f"],
    &["hset", "KEY", "f", "1"],
    &["hdel", "KEY", "f"],
    &["hgetall", "KEY"],
    &["pexpire", "KEY", "1000"],
    &["zadd", "KEY", "1", "m"],
    &["zcard", "KEY"],
    &["zcount", "KEY", "0", "1"],
    &["zrange", "KEY", "0", "0"],
    &["zrangebyscore", "KEY", "0", "1"],
    &["zscore", "KEY", "m"],
    &["zremrangebyscore", "KEY", "0", "1"],
    &["time"],
];

/// Checks whether a server can be used. It removes what it writes, except void marks, which it adds if there were none.
pub async fn check(settings: &ServerSettings, secret: &SecretSource, clock: &SteadyClock) -> Vec<Finding> {
    let server = Server::open(settings, clock);
    if let Err(fault) = server.up_within(PATIENCE).await {
        return vec![Finding::bad(format!("The server at {} can't be used: {fault}.", settings.address))];
    }
    let mut findings = vec![Finding::good(format!("The server is {}.", settings.address))];
    findings.extend(about(&server).await);
    findings.extend(clocks(&server));
    for keys in secret.secret().all() {
        let mut faults = commands(&server, keys).await;
        if faults.is_empty()
            && let Err((what, error)) = scripts(&server, keys, clock.now()).await
        {
            faults.push(format!("{what} fails: {error}."));
        }
        if !faults.is_empty() {
            findings.extend(faults.into_iter().map(Finding::bad));
            return findings;
        }
    }
    findings.push(Finding::good(
        "The user may run all commands that are needed, and all scripts work.".to_owned(),
    ));
    findings
}

/// Checks the server's version, and what it does when it is full.
async fn about(server: &Server) -> Vec<Finding> {
    let (Some(version), Some(memory)) = (info(server, b"server").await, info(server, b"memory").await) else {
        let unknown = "The user may not run INFO, so the server's version and maxmemory-policy are unknown.";
        return vec![Finding::doubtful(unknown.to_owned())];
    };
    let of = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    };
    let valkey = of(&version, "valkey_version").map(|version| format!("Valkey {version}"));
    let redis = of(&version, "redis_version").unwrap_or_default();
    let major: u32 = redis.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let name = valkey.unwrap_or_else(|| format!("Redis {redis}"));
    let version = if major < 7 {
        Finding::doubtful(format!("It is {name}; only Redis 7 and Valkey 7.2 and later are tested."))
    } else {
        Finding::good(format!("It is {name}."))
    };
    let policy = of(&memory, "maxmemory_policy").unwrap_or_default();
    let limit = of(&memory, "maxmemory").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
    vec![version, room(limit, &policy)]
}

fn room(limit: u64, policy: &str) -> Finding {
    let mib = limit >> 20;
    match (limit, policy) {
        (0, _) => Finding::doubtful(
            "It has no maxmemory, so rows may fill the machine's memory. Set maxmemory, and maxmemory-policy volatile-lru."
                .to_owned(),
        ),
        (_, "noeviction") => Finding::doubtful(format!(
            "When {mib} MiB are full, it refuses writes (noeviction), and purges get 503. Use volatile-lru instead."
        )),
        (_, policy) if policy.starts_with("allkeys") => Finding::doubtful(format!(
            "When {mib} MiB are full, it may evict void marks ({policy}), and everything is read again. Use volatile-lru instead."
        )),
        (_, policy) => Finding::good(format!("When {mib} MiB are full, it evicts rows ({policy}) and keeps void marks.")),
    }
}

fn clocks(server: &Server) -> Option<Finding> {
    let clock = server.server_clock()?;
    let millis = clock.ahead / 1000;
    let text = format!(
        "The server's clock is {millis} ms ahead of this machine's (±{} ms).",
        clock.off_by / 1000 + 1
    );
    let is_apart = clock.ahead.abs() > CLOCKS_APART.saturating_add(clock.off_by);
    Some(if is_apart {
        Finding::doubtful(format!(
            "{text} Synchronize the clocks of all machines (NTP): they compare ages of rows."
        ))
    } else {
        Finding::good(text)
    })
}

/// Runs each command, and returns a sentence for each that fails.
async fn commands(server: &Server, keys: &TierKeys) -> Vec<String> {
    let key = claim_key(keys, &rand::random(), 0);
    let mut faults = Vec::new();
    for words in COMMANDS {
        // Hashes, sorted sets and strings each need a key of their own.
        let key = match words[0].as_bytes() {
            [kind @ (b'h' | b'z'), ..] => [&key[..], &[*kind]].concat(),
            _ => key.clone(),
        };
        let sent: Vec<&[u8]> =
            words.iter().map(|word| if *word == "KEY" { &key[..] } else { word.as_bytes() }).collect();
        if let Err(error) = server.command(&sent).await {
            let name = words[0].to_uppercase();
            faults.push(format!("{name} on a key such as {} fails: {error}.", String::from_utf8_lossy(&key)));
        }
    }
    faults
}

/// Runs each script on a random scope.
///
/// # Errors
/// What the first script that fails is for, and why it failed.
async fn scripts(server: &Server, keys: &TierKeys, now: Timestamp) -> Result<(), (&'static str, CallError)> {
    let scope = rand::random();
    let (scope_key, marks_key, claim) =
        (scope_key(keys, &scope), marks_key(keys), claim_key(keys, &scope, 0));
    SharedMarks::default().sync(server, keys, now).await.map_err(|error| ("Writing void marks", error))?;
    let looked = server
        .script(&LOOK, &[&marks_key], &[b"", b""])
        .await
        .map_err(|error| ("Reading void marks", error))?;
    let epoch = looked.list().into_iter().next().and_then(ServerReply::bytes).unwrap_or_default();
    let claimed =
        server.script(&NEWS, &[&scope_key, &marks_key, &claim], &[b"0", b"0", b"check", b"1000"]).await;
    claimed.map_err(|error| ("Looking for news", error))?;
    let released = server.script(&RELEASE, &[&claim], &[b"check"]).await;
    released.map_err(|error| ("Ending a claim", error))?;
    let name = [0u8; 16];
    let words: [&[u8]; 5] = [&epoch, b"5", &name, b"", b"check"];
    let saved = server.bulk_script(&COMMIT, &[&scope_key, &marks_key], &words).await;
    saved.map_err(|error| ("Saving", error))?;
    let found = server.bulk_script(&WEEKS, &[&scope_key, &marks_key], &[b"cells", &name]).await;
    let found = found.map_err(|error| ("Reading what was saved", error))?;
    let cell = found.list().into_iter().nth(1).and_then(FoundCell::of);
    let Some(cell) = cell.filter(|cell| cell.sealed.as_deref() == Some(b"check")) else {
        return Err(("Reading what was saved", CallError::Refused("it differs".to_owned())));
    };
    let dropped = server.script(&DROP, &[&scope_key], &[&name, &cell.version]).await;
    dropped.map_err(|error| ("Removing what was saved", error))?;
    server.command(&[b"DEL", &scope_key]).await.map(drop).map_err(|error| ("Removing what was saved", error))
}

async fn info(server: &Server, section: &[u8]) -> Option<String> {
    String::from_utf8(server.command(&[b"INFO", section]).await.ok()?.bytes()?).ok()
}
