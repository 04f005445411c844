//! How much disk space the folders of scopes take, and which to remove first.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::disk;
use super::kept_files::SizeChange;
use crate::tier::TierScope;

/// The capacity divided by this is removed in addition to a surplus, so that not every new file removes an old one.
const AT_ONCE: u64 = 64;

/// The space that each folder takes, by path.
#[derive(Debug)]
pub(super) struct DiskRoom {
    capacity: u64,
    total: u64,
    folders: HashMap<PathBuf, FolderUse>,
    /// The folders that the walk has yet to visit; `None` before the first walk.
    to_walk: Option<Vec<PathBuf>>,
    leftovers: Leftovers,
}

/// What a walk does with unfinished files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// Deletes them. Only the process that writes may.
    Delete,
    /// Counts them.
    Count,
}

#[derive(Clone, Copy, Debug)]
struct FolderUse {
    bytes: u64,
    /// When it was last read or written.
    used: SystemTime,
    /// The scope, if this process has used the folder.
    scope: Option<TierScope>,
}

impl DiskRoom {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, total: 0, folders: HashMap::new(), to_walk: None, leftovers: Leftovers::Count }
    }

    /// The total size of all folders, in bytes.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Begins to visit all folders, and forgets what it knew: another process may have written there.
    pub(super) fn begin_walk(&mut self, root: &Path, leftovers: Leftovers) {
        (self.total, self.folders, self.leftovers) = (0, HashMap::new(), leftovers);
        let namespaces = disk::list(root).into_iter().filter(|path| path.is_dir());
        let folders = namespaces.flat_map(|path| disk::list(&path)).filter(|path| path.is_dir());
        self.to_walk = Some(folders.collect());
    }

    /// Visits one more folder. Returns whether there was one.
    pub(super) fn walk(&mut self) -> bool {
        let Some(folder) = self.to_walk.as_mut().and_then(Vec::pop) else { return false };
        let used = fs::metadata(&folder).and_then(|metadata| metadata.modified());
        let mut bytes = 0;
        for file in disk::list(&folder) {
            let is_leftover =
                self.leftovers == Leftovers::Delete && disk::has_extension(&file, disk::UNFINISHED);
            if is_leftover && disk::remove(&file).is_ok() {
                continue;
            }
            bytes += disk::size(&file);
        }
        let known = self.folders.get(&folder).copied();
        let used = known.map_or(used.unwrap_or(SystemTime::UNIX_EPOCH), |known| known.used);
        self.total = self.total + bytes - known.map_or(0, |known| known.bytes);
        self.folders.insert(folder, FolderUse { bytes, used, scope: known.and_then(|known| known.scope) });
        true
    }

    /// Notes that a folder was read or written.
    pub(super) fn used(&mut self, folder: PathBuf, scope: &TierScope, change: SizeChange) {
        let now = SystemTime::now();
        let known =
            self.folders.entry(folder).or_insert(FolderUse { bytes: 0, used: now, scope: Some(*scope) });
        // A folder that was not visited yet may lose more than its known size.
        let bytes = (known.bytes + change.added).saturating_sub(change.removed);
        self.total = (self.total + bytes).saturating_sub(known.bytes);
        *known = FolderUse { bytes, used: now, scope: Some(*scope) };
    }

    /// Notes that files of a folder were removed, without counting as use.
    pub(super) fn shrank(&mut self, folder: &Path, change: SizeChange) {
        if let Some(known) = self.folders.get_mut(folder) {
            let bytes = known.bytes.saturating_sub(change.removed);
            self.total = self.total.saturating_sub(known.bytes - bytes);
            known.bytes = bytes;
        }
    }

    /// Notes that a folder was removed.
    pub(super) fn removed(&mut self, folder: &Path) {
        if let Some(known) = self.folders.remove(folder) {
            self.total = self.total.saturating_sub(known.bytes);
        }
    }

    /// The bytes to remove; `None` if there is room, or not all folders were visited yet.
    pub(super) fn surplus(&self) -> Option<u64> {
        let is_walked = self.to_walk.as_ref().is_some_and(Vec::is_empty);
        let surplus = self.total.checked_sub(self.capacity).filter(|surplus| *surplus > 0 && is_walked)?;
        Some(surplus + self.capacity / AT_ONCE)
    }

    /// The least recently used folder, its size in bytes, and its scope, if it is known.
    pub(super) fn first_to_go(&self) -> Option<(PathBuf, u64, Option<TierScope>)> {
        let (folder, found) = self.folders.iter().min_by_key(|(_, folder)| folder.used)?;
        Some((folder.clone(), found.bytes, found.scope))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sealed::testing::{TempFolder, scope};

    fn file(folder: &Path, name: &str, length: usize) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), vec![1; length]).unwrap();
    }

    fn age(folder: &Path, seconds: u64) {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(folder).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_walk_adds_up_sizes_and_deletes_unfinished_files() {
        let root = TempFolder::new();
        let (one, two) = (root.path().join("a/one"), root.path().join("b/two"));
        file(&one, "x.cell", 5000);
        file(&one, "y.tmp", 50_000);
        file(&two, "z.rows", 1);
        age(&one, 10);
        let mut room = DiskRoom::new(8192);
        room.begin_walk(root.path(), Leftovers::Delete);
        assert_eq!(room.surplus(), None, "not all folders were visited");
        while room.walk() {}
        assert_eq!(room.total(), 8192 + 4096);
        assert_eq!(room.surplus(), Some(4096 + 8192 / AT_ONCE));
        assert_eq!(room.first_to_go(), Some((one.clone(), 8192, None)));
        assert!(!one.join("y.tmp").exists());
        room.used(one.clone(), &scope(1), SizeChange { added: 4096, removed: 8192 });
        assert_eq!((room.total(), room.surplus()), (8192, None));
        assert_eq!(room.first_to_go().map(|(folder, ..)| folder), Some(two.clone()));
        room.removed(&two);
        assert_eq!(room.first_to_go(), Some((one, 4096, Some(scope(1)))));
    }

    #[test]
    fn a_folder_written_during_the_walk_counts_once() {
        let root = TempFolder::new();
        let one = root.path().join("a/one");
        file(&one, "x.cell", 5000);
        let mut room = DiskRoom::new(1 << 20);
        room.begin_walk(root.path(), Leftovers::Delete);
        file(&one, "y.cell", 5000);
        room.used(one.clone(), &scope(1), SizeChange { added: 8192, removed: 0 });
        while room.walk() {}
        assert_eq!(room.first_to_go(), Some((one, 16_384, Some(scope(1)))));
        assert_eq!(room.total(), 16_384);
    }
}
