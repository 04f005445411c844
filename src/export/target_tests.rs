use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fanfold-target-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn put(part: &PartFile, text: &str) {
    part.handle().unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_file_appears_only_when_it_is_complete() {
    let folder = Folder::new();
    let part = PartFile::open(&folder.path("a")).unwrap();
    put(&part, "new");
    assert!(!folder.path("a").exists() && folder.path("a.part").exists());
    part.commit().unwrap();
    assert_eq!(fs::read(folder.path("a")).unwrap(), b"new");
    assert!(!folder.path("a.part").exists());
}

#[test]
fn an_existing_file_keeps_its_mode_and_is_replaced_at_the_end() {
    let folder = Folder::new();
    let path = folder.path("a");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let part = PartFile::open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(part.path()), 0o640, "the part file is no more readable than the file");
    put(&part, "new");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    part.commit().unwrap();
    assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (&b"new"[..], 0o640));
}

#[test]
fn the_part_file_of_an_earlier_run_is_emptied() {
    let folder = Folder::new();
    fs::write(folder.path("a.part"), "a long rest of an earlier run").unwrap();
    let part = PartFile::open(&folder.path("a")).unwrap();
    put(&part, "new");
    part.commit().unwrap();
    assert_eq!(fs::read(folder.path("a")).unwrap(), b"new");
}

#[test]
fn a_second_run_fails_without_changing_the_part_file() {
    let folder = Folder::new();
    let part = PartFile::open(&folder.path("a")).unwrap();
    put(&part, "first");
    let error = PartFile::open(&folder.path("a")).unwrap_err();
    assert!(matches!(&error, TargetError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("a.part is being written by"), "{error}");
    assert_eq!(fs::read(part.path()).unwrap(), b"first");
    drop(part);
    assert!(PartFile::open(&folder.path("a")).is_ok(), "dropping releases the lock");
}

#[test]
fn refuses_links_and_whatever_is_not_a_regular_file() {
    let folder = Folder::new();
    fs::write(folder.path("elsewhere"), "untouched").unwrap();
    for name in ["link", "other.part", "dangling.part"] {
        let to = if name == "dangling.part" { folder.path("nowhere") } else { folder.path("elsewhere") };
        symlink(to, folder.path(name)).unwrap();
        let target = folder.path(name.trim_end_matches(".part"));
        assert!(matches!(PartFile::open(&target), Err(TargetError::Link(_))), "{name}");
    }
    assert_eq!(fs::read(folder.path("elsewhere")).unwrap(), b"untouched");
    assert!(!folder.path("nowhere").exists());
    fs::create_dir(folder.path("folder")).unwrap();
    fs::create_dir(folder.path("b.part")).unwrap();
    for name in ["folder", "b"] {
        assert!(matches!(PartFile::open(&folder.path(name)), Err(TargetError::NotAFile(_))), "{name}");
    }
    assert!(matches!(PartFile::open(Path::new("/dev/null")), Err(TargetError::NotAFile(_))));
    assert!(matches!(PartFile::open(&folder.path("no/such/folder")), Err(TargetError::Io { .. })));
}

#[test]
fn a_replaced_part_file_is_not_renamed() {
    let folder = Folder::new();
    fs::write(folder.path("a"), "old").unwrap();
    let part = PartFile::open(&folder.path("a")).unwrap();
    fs::remove_file(part.path()).unwrap();
    assert!(matches!(part.commit(), Err(TargetError::Replaced(_))));
    let part = PartFile::open(&folder.path("a")).unwrap();
    fs::rename(part.path(), folder.path("moved")).unwrap();
    fs::write(folder.path("a.part"), "a stranger's").unwrap();
    assert!(matches!(part.commit(), Err(TargetError::Replaced(_))));
    assert_eq!(fs::read(folder.path("a")).unwrap(), b"old");
}

#[test]
fn finds_the_holder_of_a_lock_in_the_list_of_the_system() {
    let locks = "1: POSIX  ADVISORY  WRITE 811 00:2d:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF\n\
                 2: -> FLOCK  ADVISORY  WRITE 4712 fe:01:1234 0 EOF\nnonsense\n";
    assert_eq!(locker(locks, 1234), Some(4711));
    assert_eq!(locker(locks, 234), None);
    assert_eq!(locker(locks, 77), None);
}
