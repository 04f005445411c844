//! Validates combinations of settings that are each valid on their own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::reader::SettingsReader;
use super::settings::{
    BudgetSettings, ConnectionSettings, Keys, ListenSettings, ResponseSettings, TierPlace, TierSettings,
};
use crate::engine::EngineSettings;
use crate::http::Forwarding;
use crate::upstream::is_loopback;

/// The smallest useful cache: a response in progress needs a few entries of one page each, at up to tens of kilobytes per row.
const SMALLEST_CACHE: u64 = 16 << 20;

/// The two listeners can't share an address.
pub(super) fn ports(read: &mut SettingsReader, listeners: Option<&ListenSettings>) {
    let Some(listeners) = listeners else { return };
    let (public, admin) = (listeners.public, listeners.admin);
    let overlap = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    // Port 0 means any free port, a different one each time.
    if public.port() == admin.port() && public.port() != 0 && overlap {
        read.fault("admin-listen", format!("{admin} is already used by --listen {public}"));
    }
}

/// Warns if rows that change sooner are kept longer, which is rarely intended. It is not a fault, so that each time can be set
/// alone.
pub(super) fn freshness(warnings: &mut Vec<String>, reading: Option<&EngineSettings>) {
    let Some(EngineSettings { live_ttl, settling_ttl, settled_ttl, .. }) = reading else { return };
    if live_ttl > settling_ttl {
        warnings.push(
            "--live-ttl is longer than --settling-ttl: rows of running calls are refreshed less often than those of ended calls".to_owned(),
        );
    }
    if settling_ttl > settled_ttl {
        warnings
            .push("--settling-ttl is longer than --settled-ttl: settled rows are refreshed more often than recent ones".to_owned());
    }
}

/// The cache must have room for what one response needs.
pub(super) fn cache(read: &mut SettingsReader, bytes: Option<u64>) {
    if bytes.is_some_and(|bytes| bytes < SMALLEST_CACHE) {
        read.fault("cache-bytes", format!("the cache needs at least {}MiB", SMALLEST_CACHE >> 20));
    }
}

/// One response can't have more pages in flight than the process.
pub(super) fn parallelism(
    warnings: &mut Vec<String>,
    reading: Option<&EngineSettings>,
    budget: Option<&BudgetSettings>,
) {
    let (Some(reading), Some(budget)) = (reading, budget) else { return };
    if reading.fan_out > budget.concurrency {
        warnings.push(format!(
            "--fan-out {} is more than --upstream-concurrency {}, which limits it",
            reading.fan_out, budget.concurrency
        ));
    }
}

/// An attempt that may take as long as the whole response leaves no time for a retry.
pub(super) fn deadlines(
    warnings: &mut Vec<String>,
    upstream: Option<&ConnectionSettings>,
    answers: Option<&ResponseSettings>,
) {
    let (Some(upstream), Some(answers)) = (upstream, answers) else { return };
    if upstream.timeout >= answers.request_deadline {
        warnings.push(
            "--upstream-timeout is not shorter than --request-deadline: a slow attempt is never retried"
                .to_owned(),
        );
    }
}

/// Credentials go over plain http only to this machine.
pub(super) fn credentials_stay_private(read: &mut SettingsReader, url: Option<&Url>) {
    let Some(url) = url else { return };
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        read.fault(
            "upstream-url",
            "credentials would go over plain http: use https, or --upstream-insecure on a network you trust",
        );
    }
}

/// A held key needs tokens, and tokens need a held key. Without tokens, anyone who reaches the port could use
/// the key.
pub(super) fn keys(
    read: &mut SettingsReader,
    key_file: Option<PathBuf>,
    tokens_file: Option<PathBuf>,
) -> Option<Keys> {
    for (name, file) in [("upstream-key-file", &key_file), ("client-tokens-file", &tokens_file)] {
        if let Some(file) = file {
            readable(read, name, file);
        }
    }
    match (key_file, tokens_file) {
        (None, None) => Some(Keys::PassedThrough),
        (Some(key_file), Some(tokens_file)) => Some(Keys::Held { key_file, tokens_file }),
        (Some(_), None) => {
            read.fault(
                "upstream-key-file",
                "a held key needs --client-tokens-file; without it, anyone could use the key",
            );
            None
        }
        (None, Some(_)) => {
            read.fault(
                "client-tokens-file",
                "has no effect without --upstream-key-file: callers bring their own keys",
            );
            None
        }
    }
}

/// A tier needs a secret, and a secret needs a tier.
pub(super) fn tier(
    read: &mut SettingsReader,
    place: Option<TierPlace>,
    secret_file: Option<PathBuf>,
) -> Option<Option<TierSettings>> {
    if let Some(file) = &secret_file {
        readable(read, "tier-secret-file", file);
    }
    match (place, secret_file) {
        (None, None) => Some(None),
        (Some(place), Some(secret_file)) => Some(Some(TierSettings { place, secret_file })),
        (Some(_), None) => {
            read.fault("tier-url", "needs --tier-secret-file, whose secret seals kept data");
            None
        }
        (None, Some(_)) => {
            read.fault("tier-secret-file", "has no effect without --tier-url");
            None
        }
    }
}

/// Replicas that can't share the rate at the moment each use their own part of it, which must be at least one request.
pub(super) fn replicas(read: &mut SettingsReader, budget: Option<&BudgetSettings>) {
    let Some(BudgetSettings { rate: Some(rate), replicas, .. }) = budget else { return };
    if usize::try_from(rate.count.get()).is_ok_and(|count| count < *replicas) {
        read.fault(
            "replicas",
            format!(
                "more replicas than requests in --upstream-rate, which is {} for all of them",
                rate.count
            ),
        );
    }
}

/// With a held key, writes are never forwarded: any token could place calls.
pub(super) fn forwarding(
    read: &mut SettingsReader,
    given: Option<Forwarding>,
    keys: &Keys,
) -> Option<Forwarding> {
    match (keys, given) {
        (Keys::PassedThrough, given) => Some(given.unwrap_or(Forwarding::All)),
        (Keys::Held { .. }, Some(Forwarding::All)) => {
            read.fault("forward", "with `all`, any token could write with the held key; use none or reads");
            None
        }
        (Keys::Held { .. }, given) => Some(given.unwrap_or(Forwarding::Reads)),
    }
}

/// A file named by a setting must exist and not be empty.
///
/// The fault does not repeat the path, because a user may have given the secret itself.
pub(super) fn readable(read: &mut SettingsReader, name: &str, file: &Path) {
    let first_byte = File::open(file).and_then(|mut file| file.read(&mut [0]));
    match first_byte {
        Ok(0) => read.fault(name, "the file is empty"),
        Ok(_) => {}
        Err(error) => read.fault(name, format!("the file can't be read: {error}")),
    }
}
