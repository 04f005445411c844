use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::process::run_small;
use super::{Exit, print};
use crate::clock::SteadyClock;
use crate::config::{Serve, TierPlace};
use crate::sealed::SecretSource;
use crate::tier::{Finding, Grade};
use crate::{directory, replicas};

/// How long the file system may take to respond.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports whether the tier can be used with the settings of `serve`.
pub fn tier_check(settings: &Serve) -> Exit {
    // The settings of this command always have a tier.
    let Some(tier) = settings.tier.clone() else { return Exit::BadSettings };
    let secret = match SecretSource::read(&tier.secret_file) {
        Ok(secret) => secret,
        Err(fault) => {
            print::err_bounded(format!("--tier-secret-file: {fault}"));
            return Exit::BadSettings;
        }
    };
    match tier.place {
        TierPlace::Directory { path, bytes } => directory(path, secret, bytes),
        TierPlace::Server(server) => run_small(&settings.log, async move {
            Ok(report(&replicas::check(&server, &secret, &SteadyClock::from_wall()).await))
        }),
    }
}

fn directory(path: PathBuf, secret: SecretSource, bytes: u64) -> Exit {
    let (sender, findings) = sync_channel(1);
    let checking = std::thread::Builder::new().name("tier-check".to_owned()).spawn(move || {
        let _the_wait_may_be_over = sender.send(directory::check(&path, &secret, bytes));
    });
    let findings = checking.map_err(|error| error.to_string()).and_then(|_| {
        findings.recv_timeout(PATIENCE).map_err(|_| "The file system does not respond.".to_owned())
    });
    match findings {
        Ok(findings) => report(&findings),
        Err(problem) => {
            print::err_bounded(problem);
            Exit::Failed
        }
    }
}

fn report(findings: &[Finding]) -> Exit {
    for Finding { grade, text } in findings {
        let word = match grade {
            Grade::Good => "ok",
            Grade::Doubtful => "warning",
            Grade::Bad => "error",
        };
        print::out(format_args!("{word}: {text}"));
    }
    if findings.iter().any(|finding| finding.grade == Grade::Bad) { Exit::Failed } else { Exit::Done }
}
