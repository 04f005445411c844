//! The file system of a directory.

use std::path::Path;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// On a block device of this machine, which may still be a network volume.
    Local(&'static str),
    /// On another machine, over a network.
    Network(&'static str),
    /// The writable layer of a container.
    Container,
    /// In memory.
    Memory,
    /// Provided by a process, through FUSE.
    User,
    /// Of another kind, with this number.
    Unknown(u64),
}

/// File systems by the numbers of `statfs(2)` on Linux.
const KINDS: [(u64, FileSystem); 16] = [
    (0xEF53, FileSystem::Local("ext4")),
    (0x5846_5342, FileSystem::Local("xfs")),
    (0x9123_683E, FileSystem::Local("btrfs")),
    (0x2FC1_2FC1, FileSystem::Local("zfs")),
    (0xF2F5_2010, FileSystem::Local("f2fs")),
    (0x6969, FileSystem::Network("NFS")),
    (0x517B, FileSystem::Network("SMB")),
    (0xFF53_4D42, FileSystem::Network("CIFS")),
    (0xFE53_4D42, FileSystem::Network("SMB2")),
    (0x0102_1997, FileSystem::Network("9P")),
    (0x00C3_6400, FileSystem::Network("Ceph")),
    (0x5346_414F, FileSystem::Network("AFS")),
    (0x0BD0_0BD0, FileSystem::Network("Lustre")),
    (0x794C_7630, FileSystem::Container),
    (0x0102_1994, FileSystem::Memory),
    (0x6573_5546, FileSystem::User),
];

/// The file system of a directory, if the system reports it.
#[cfg(target_os = "linux")]
pub(super) fn of(path: &Path) -> Option<FileSystem> {
    // The field may be a signed 32-bit integer, and some numbers have the highest bit set.
    let magic = rustix::fs::statfs(path).ok()?.f_type.cast_unsigned() & 0xFFFF_FFFF;
    Some(known(magic))
}

/// The file system of a directory, if the system reports it.
#[cfg(not(target_os = "linux"))]
pub(super) const fn of(_: &Path) -> Option<FileSystem> {
    None
}

fn known(magic: u64) -> FileSystem {
    let kind = KINDS.iter().find(|(number, _)| *number == magic);
    kind.map_or(FileSystem::Unknown(magic), |(_, kind)| *kind)
}

/// The number of bytes that this user can still write.
pub(super) fn free(path: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(path).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_file_systems_by_number() {
        assert_eq!(known(0x6969), FileSystem::Network("NFS"));
        assert_eq!(known(0xFF53_4D42), FileSystem::Network("CIFS"));
        assert_eq!(known(7), FileSystem::Unknown(7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn asks_the_system() {
        let folder = std::env::temp_dir();
        assert!(of(&folder).is_some() && free(&folder).is_some_and(|bytes| bytes > 0));
        assert!(of(&folder.join("nowhere")).is_none());
    }
}
