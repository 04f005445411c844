//! `fanfold tier check` for a directory. Everything here blocks.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk;
use super::disk_room::{DiskRoom, Leftovers};
use super::file_system::{self, FileSystem};
use super::kept_files::{CELL, record_name};
use super::lock::DirectoryLock;
use super::marks_file;
use super::state::LOCK;
use crate::sealed::{ReadMarks, RecordKind, TierSecret, Unsealed};
use crate::tier::Finding;

/// How many cells of each line of the secret are opened as a sample.
const SAMPLE: usize = 100;

/// How many writes are timed.
const WRITES: usize = 8;

/// The bytes of a timed write: an entry of ordinary size.
const WRITTEN: usize = 64 << 10;

/// A median write that takes longer is reported as slow.
const SLOW: Duration = Duration::from_millis(250);

/// Checks whether a directory can be used. Creates it if it does not exist, and removes whatever else it writes.
pub(super) fn check(root: &Path, secret: &TierSecret, bytes: u64) -> Vec<Finding> {
    if let Err(error) = fs::create_dir_all(root) {
        return vec![Finding::bad(format!("The directory {} can't be created: {error}.", root.display()))];
    }
    let mut findings = vec![Finding::good(format!("The directory is {}.", root.display()))];
    findings.extend(kind(root));
    findings.push(lock(root));
    findings.extend(contents(root, secret));
    findings.extend(room(root, bytes));
    findings.push(writing(root));
    findings
}

fn kind(root: &Path) -> Option<Finding> {
    Some(match file_system::of(root)? {
        FileSystem::Local(name) => Finding::good(format!("The file system is local ({name}).")),
        FileSystem::Network(name) => Finding::bad(format!(
            "The file system is reached over a network ({name}), which is not supported: locks may not hold there, and a server that \
             does not answer blocks every file."
        )),
        FileSystem::Container => Finding::doubtful(
            "The directory is in the container's own file system and is lost with the container: mount a volume there.".to_owned(),
        ),
        FileSystem::Memory => {
            Finding::doubtful("The file system is in memory: its files use memory, and a reboot loses them.".to_owned())
        }
        FileSystem::User => Finding::doubtful(
            "The file system is provided by a process (FUSE). If it is reached over a network, it is not supported.".to_owned(),
        ),
        FileSystem::Unknown(magic) => Finding::doubtful(format!("The file system is of an unknown kind ({magic:#x}).")),
    })
}

fn lock(root: &Path) -> Finding {
    match DirectoryLock::try_take(&root.join(LOCK)) {
        Ok(Some(_)) => {
            Finding::good("The lock is free: the next gateway that starts writes here.".to_owned())
        }
        Ok(None) => Finding::good(
            "The lock is held: a gateway writes here. Another one serves from memory until that one ends."
                .to_owned(),
        ),
        Err(error) => Finding::bad(format!("The lock can't be taken: {error}.")),
    }
}

fn contents(root: &Path, secret: &TierSecret) -> Vec<Finding> {
    let version = env!("CARGO_PKG_VERSION");
    let (mut findings, mut scopes) = (Vec::new(), 0);
    let (mut whole, mut foreign, mut corrupt) = (0, 0, 0);
    let mut known = Vec::new();
    for keys in secret.all() {
        let folder = root.join(keys.names.namespace().to_string());
        known.push(folder.clone());
        if marks_file::read(&folder, keys) == ReadMarks::Lost {
            findings.push(Finding::doubtful(
                "The void marks can't be read: a gateway will ignore everything that was kept so far."
                    .to_owned(),
            ));
        }
        let folders: Vec<_> = disk::list(&folder).into_iter().filter(|path| path.is_dir()).collect();
        scopes += folders.len();
        let files = folders.iter().flat_map(|folder| disk::list(folder));
        for file in files.filter(|path| disk::has_extension(path, CELL)).take(SAMPLE) {
            let (Some(name), Ok(Some(mut sealed))) = (record_name(&file), disk::read(&file)) else {
                continue;
            };
            match keys.sealer.open(RecordKind::Cell, &name, &mut sealed) {
                Ok(_) => whole += 1,
                Err(Unsealed::Foreign) => foreign += 1,
                Err(Unsealed::Corrupt) => corrupt += 1,
            }
        }
    }
    findings.push(match (whole, corrupt) {
        (0, 0) => Finding::good("Nothing is kept under this secret yet.".to_owned()),
        (_, 0) => {
            Finding::good(format!("The secret opens the kept files: {scopes} scopes, {whole} files tried."))
        }
        _ => Finding::doubtful(format!(
            "{corrupt} of {} files tried are damaged; their rows are read from upstream again.",
            whole + corrupt
        )),
    });
    if foreign > 0 {
        findings.push(Finding::doubtful(format!(
            "{foreign} files are of another version of fanfold than this one ({version}), which leaves them alone."
        )));
    }
    let is_other = |path: &std::path::PathBuf| path.is_dir() && !known.contains(path);
    let others = disk::list(root).iter().filter(|path| is_other(path)).count();
    if others > 0 {
        findings.push(Finding::doubtful(format!(
            "{others} folders belong to other secrets. They count toward --tier-bytes until they are the least recently used."
        )));
    }
    findings
}

fn room(root: &Path, bytes: u64) -> Option<Finding> {
    let mut held = DiskRoom::new(bytes);
    held.begin_walk(root, Leftovers::Count);
    while held.walk() {}
    let (held, free) = (held.total(), file_system::free(root)?);
    let mib = |bytes: u64| bytes >> 20;
    Some(if held.saturating_add(free) < bytes {
        Finding::doubtful(format!(
            "{} MiB are held and {} MiB are free, which is less than --tier-bytes ({} MiB): the disk would fill up before old \
             files are removed. Lower --tier-bytes.",
            mib(held),
            mib(free),
            mib(bytes)
        ))
    } else {
        Finding::good(format!(
            "{} MiB are held and {} MiB are free; --tier-bytes is {} MiB.",
            mib(held),
            mib(free),
            mib(bytes)
        ))
    })
}

fn writing(root: &Path) -> Finding {
    let path = root.join(format!("check-{}", std::process::id()));
    let write = || -> io::Result<Duration> {
        let began = Instant::now();
        disk::replace(&path, &[1; WRITTEN])?;
        disk::sync_folder(root)?;
        Ok(began.elapsed())
    };
    let times: io::Result<Vec<_>> = (0..WRITES).map(|_| write()).collect();
    let removed = disk::remove(&path);
    let mut times = match (times, removed) {
        (Ok(times), Ok(())) => times,
        (Err(error), _) | (_, Err(error)) => {
            return Finding::bad(format!("The directory can't be written: {error}."));
        }
    };
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let (half, most) = (millis(times.get(WRITES / 2)), millis(times.last()));
    let text =
        format!("To write, sync and rename {} KiB takes {half:.1} ms, at most {most:.1} ms.", WRITTEN >> 10);
    if times.get(WRITES / 2).is_some_and(|time| *time > SLOW) {
        Finding::doubtful(format!("{text} That is slow: rows that arrive faster are not kept."))
    } else {
        Finding::good(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::testing::{TempFolder, secret};
    use crate::tier::Grade;

    fn grades(root: &Path, bytes: u64) -> Vec<(Grade, String)> {
        check(root, &secret(&[1]), bytes).into_iter().map(|finding| (finding.grade, finding.text)).collect()
    }

    fn about<'f>(findings: &'f [(Grade, String)], word: &str) -> &'f (Grade, String) {
        findings
            .iter()
            .find(|(_, text)| text.contains(word))
            .unwrap_or_else(|| panic!("{word}: {findings:#?}"))
    }

    #[test]
    fn a_usable_directory_is_left_unchanged() {
        let folder = TempFolder::new();
        let root = folder.path().join("tier");
        let findings = grades(&root, 1 << 20);
        assert!(findings.iter().all(|(grade, _)| *grade != Grade::Bad), "{findings:#?}");
        assert_eq!(about(&findings, "lock is free").0, Grade::Good);
        assert_eq!(about(&findings, "Nothing is kept").0, Grade::Good);
        assert_eq!(disk::list(&root), [root.join(LOCK)]);
        let _held = DirectoryLock::try_take(&root.join(LOCK)).unwrap();
        assert_eq!(about(&grades(&root, 1 << 20), "lock is held").0, Grade::Good);
    }

    #[test]
    fn reports_doubtful_and_bad_findings() {
        let folder = TempFolder::new();
        let root = folder.path().join("tier");
        let ours = root.join(secret(&[1]).first().names.namespace().to_string());
        fs::create_dir_all(ours.join("scope")).unwrap();
        fs::create_dir_all(root.join("0".repeat(32))).unwrap();
        fs::write(ours.join("scope").join(format!("{}.cell", "0".repeat(32))), "rubbish").unwrap();
        fs::write(ours.join("voids"), "rubbish").unwrap();
        let findings = grades(&root, u64::MAX);
        for word in ["void marks", "1 of 1 files", "1 folders belong to other secrets", "Lower --tier-bytes"]
        {
            assert_eq!(about(&findings, word).0, Grade::Doubtful);
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(about(&grades(&file, 1), "can't be created").0, Grade::Bad);
    }
}
