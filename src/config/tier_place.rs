//! Reads where rows are kept outside this process.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::checks;
use super::reader::SettingsReader;
use super::settings::TierPlace;
use super::values::Parsed;
use crate::replicas::{ServerAddress, ServerSettings};
use crate::upstream::is_loopback;

/// The default port of Redis and Valkey.
const PORT: u16 = 6379;

/// The value of `--tier-url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TierUrl {
    /// A directory on a local disk.
    Directory(PathBuf),
    /// Redis or Valkey.
    Server(ServerAddress),
}

/// How a server is reached.
pub(super) struct TierLogin {
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) is_insecure: bool,
    pub(super) timeout: Duration,
}

/// Parses the URL of a tier.
pub(super) fn tier_url(text: &str) -> Parsed<TierUrl> {
    let accepted = "file:// and the absolute path of a directory, such as file:///var/lib/fanfold, or redis:// or rediss:// and a host, \
                    such as rediss://redis.example.com:6379, without user and password (see --tier-user)";
    let url = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none());
    let parsed = url.and_then(|url| match url.scheme() {
        // Not `file://data/x`, where `data` is a host.
        "file" if !url.has_host() => {
            let path = url.to_file_path().ok().filter(|path| path.parent().is_some());
            path.map(TierUrl::Directory)
        }
        "redis" | "rediss" => server(&url).map(TierUrl::Server),
        _ => None,
    });
    parsed.ok_or_else(|| accepted.to_owned())
}

fn server(url: &Url) -> Option<ServerAddress> {
    if !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let database = match url.path() {
        "" | "/" => 0,
        path => path.strip_prefix('/')?.parse().ok()?,
    };
    Some(ServerAddress {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(PORT),
        database,
        is_tls: url.scheme() == "rediss",
    })
}

/// The place that `--tier-url` names, with the other settings of the tier. A setting without effect is a fault.
pub(super) fn tier_place(
    read: &mut SettingsReader,
    url: Option<TierUrl>,
    bytes: u64,
    login: TierLogin,
) -> Option<TierPlace> {
    let TierLogin { user, password_file, ca_file, is_insecure, timeout } = login;
    for (name, file) in [("tier-password-file", &password_file), ("tier-ca-file", &ca_file)] {
        if let Some(file) = file {
            checks::readable(read, name, file);
        }
    }
    if user.is_some() && password_file.is_none() {
        read.fault("tier-user", "needs --tier-password-file");
    }
    if !matches!(url, Some(TierUrl::Server(_))) {
        let given = [
            ("tier-user", user.is_some()),
            ("tier-password-file", password_file.is_some()),
            ("tier-ca-file", ca_file.is_some()),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            read.fault(name, "has no effect without --tier-url redis:// or rediss://");
        }
    }
    match url? {
        TierUrl::Directory(path) => Some(TierPlace::Directory { path, bytes }),
        TierUrl::Server(address) => {
            if !address.is_tls && !is_insecure && !is_loopback(&address.host) {
                read.fault(
                    "tier-url",
                    "the password would go over plain redis://, and purges could be removed on the way: use rediss://, or --tier-insecure \
                     on a network you trust",
                );
            }
            if !address.is_tls && ca_file.is_some() {
                read.fault("tier-ca-file", "has no effect without rediss://");
            }
            Some(TierPlace::Server(ServerSettings { address, user, password_file, ca_file, timeout }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_tier_is_a_local_directory_or_a_server() {
        let directory = TierUrl::Directory(PathBuf::from("/var/lib/fan fold"));
        assert_eq!(tier_url("file:///var/lib/fan%20fold"), Ok(directory));
        let text = |url: &str| match tier_url(url) {
            Ok(TierUrl::Server(address)) => address.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(text("redis://localhost"), "redis://localhost:6379/0");
        assert_eq!(text("rediss://r.example.com:6380/3"), "rediss://r.example.com:6380/3");
        assert_eq!(text("redis://[::1]:1/"), "redis://[::1]:1/0");
        for wrong in [
            "",
            "/var/lib",
            "file://var/lib",
            "file:///",
            "file:///x?y",
            "redis://",
            "redis://h/x",
            "redis://u:p@h",
            "rediss://h?db=1",
            "redis://h/256",
            "redis+sentinel://h/name",
            "s3://b",
        ] {
            assert!(tier_url(wrong).is_err_and(|accepted| accepted.contains("file:///")), "{wrong}");
        }
    }
}
