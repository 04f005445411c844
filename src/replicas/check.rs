//! What `fanfold tier check` finds out about a server.

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

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// From this difference of clocks on, rows may be taken for older or newer than they are.
const CLOCKS_APART: i64 = 250_000;

/// The commands that a user must be allowed, with words that change nothing. `KEY` is a key of the tier.
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

/// Finds out whether a server can be used. Removes what it writes; the void marks stay, if there were none.
pub async fn check(settings: &ServerSettings, secret: &SecretSource, clock: &SteadyClock) -> Vec<Finding> {
    let server = Server::open(settings, clock);
    if let Err(fault) = server.up_within(PATIENCE).await {
        return vec![Finding::bad(format!("The server at {} can't be used: {fault}.", settings.address))];
    }
    let mut findings = vec![Finding::good(format!("The server is {}.", settings.address))];
    findings.extend(about(&server).await);
    findings.extend(clocks(&server));
    for keys in secret.secret().all() {
        let faults = commands(&server, keys).await;
        let faults = if faults.is_empty() { scripts(&server, keys, clock.now()).await } else { faults };
        if !faults.is_empty() {
            findings.extend(faults.into_iter().map(Finding::bad));
            return findings;
        }
    }
    findings
        .push(Finding::good("The user may do everything that is needed, and all scripts run.".to_owned()));
    findings
}

/// Its version, and what it does when it is full.
async fn about(server: &Server) -> Vec<Finding> {
    let (version, memory) =
        (server.command(&[b"INFO", b"server"]).await, server.command(&[b"INFO", b"memory"]).await);
    let (Some(version), Some(memory)) = (text(version), text(memory)) else {
        let unknown =
            "The user may not run INFO, so the server's version and its maxmemory-policy are not known.";
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
            "It has no maxmemory: rows may take all memory of the machine. Set maxmemory, and maxmemory-policy volatile-lru."
                .to_owned(),
        ),
        (_, "noeviction") => Finding::doubtful(format!(
            "When {mib} MiB are full, it takes nothing more (noeviction): purges are then refused with 503. Better: volatile-lru."
        )),
        (_, policy) if policy.starts_with("allkeys") => Finding::doubtful(format!(
            "When {mib} MiB are full, it may remove void marks ({policy}): everything is then read again. Better: volatile-lru."
        )),
        (_, policy) => Finding::good(format!("When {mib} MiB are full, rows go first ({policy}); void marks stay.")),
    }
}

fn clocks(server: &Server) -> Option<Finding> {
    let clock = server.server_clock()?;
    let millis = clock.ahead / 1000;
    let text = format!(
        "The server's clock is {millis} ms ahead of this machine's, give or take {} ms.",
        clock.off_by / 1000 + 1
    );
    let is_apart = clock.ahead.abs() > CLOCKS_APART.saturating_add(clock.off_by);
    Some(if is_apart {
        Finding::doubtful(format!(
            "{text} Synchronize the clocks of all machines (NTP): ages of rows are compared between them."
        ))
    } else {
        Finding::good(text)
    })
}

/// Which commands the user may not run.
async fn commands(server: &Server, keys: &TierKeys) -> Vec<String> {
    let key = claim_key(keys, &rand::random(), 0);
    let mut faults = Vec::new();
    for words in COMMANDS {
        // A hash, a sorted set and a string have a key each.
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

/// Which scripts do not do what they should, tried with a scope that nothing is known of.
async fn scripts(server: &Server, keys: &TierKeys, now: Timestamp) -> Vec<String> {
    match run_scripts(server, keys, now).await {
        Ok(()) => Vec::new(),
        Err((what, error)) => vec![format!("{what} fails: {error}.")],
    }
}

async fn run_scripts(
    server: &Server,
    keys: &TierKeys,
    now: Timestamp,
) -> Result<(), (&'static str, CallError)> {
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
        return Err(("Reading what was saved", CallError::Refused("it is something else".to_owned())));
    };
    let dropped = server.script(&DROP, &[&scope_key], &[&name, &cell.version]).await;
    dropped.map_err(|error| ("Removing what was saved", error))?;
    server.command(&[b"DEL", &scope_key]).await.map(drop).map_err(|error| ("Removing what was saved", error))
}

fn text(reply: Result<ServerReply, CallError>) -> Option<String> {
    String::from_utf8(reply.ok()?.bytes()?).ok()
}
