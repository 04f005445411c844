//! What the system knows of this process; on other systems than Linux, nothing.

use std::fs;

/// How many files this process may have open at once.
pub fn file_handles() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    parse_file_handles(&limits)
}

fn parse_file_handles(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// How many files it has open.
pub fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// The memory it occupies, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse_resident_bytes(&status)
}

fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_limit_of_open_files() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            20000                1048576              files\n";
        assert_eq!(parse_file_handles(limits), Some(20_000));
        assert_eq!(parse_file_handles("Max open files   unlimited  unlimited  files"), Some(usize::MAX));
        assert_eq!(parse_file_handles(""), None);
    }

    #[test]
    fn reads_the_resident_memory() {
        assert_eq!(parse_resident_bytes("VmHWM:\t 9 kB\nVmRSS:\t    5012 kB\n"), Some(5012 * 1024));
        assert_eq!(parse_resident_bytes("VmHWM:\t 9 kB\n"), None);
    }
}
