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

/// How long the file system may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reports whether the tier can be used with the settings of `serve`.
pub fn tier_check(settings: &Serve) -> Exit {
    // Reading the settings has made sure of it.
    let Some(tier) = settings.tier.clone() else { return Exit::BadSettings };
    let secret = match SecretSource::read(&tier.secret_file) {
        Ok(secret) => secret,
        Err(fault) => {
            print::last_words(format!("--tier-secret-file: {fault}"));
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
    let (say, said) = sync_channel(1);
    let checking = std::thread::Builder::new().name("tier-check".to_owned()).spawn(move || {
        let _nobody_waits_any_more = say.send(directory::check(&path, &secret, bytes));
    });
    let findings = checking
        .map_err(|error| error.to_string())
        .and_then(|_| said.recv_timeout(PATIENCE).map_err(|_| "The file system does not answer.".to_owned()));
    match findings {
        Ok(findings) => report(&findings),
        Err(problem) => {
            print::last_words(problem);
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
