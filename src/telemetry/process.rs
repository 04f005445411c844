//! What the operating system knows about this process. Linux only; elsewhere, every function returns `None`.

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

/// How many files this process has open.
pub fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// The resident memory in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse_bytes(&status, "VmRSS:")
}

/// The virtual memory in bytes.
pub(super) fn virtual_bytes() -> Option<u64> {
    parse_bytes(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")
}

/// The CPU time in seconds, including time in the kernel.
pub(super) fn cpu_seconds() -> Option<f64> {
    parse_cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The unit in which Linux reports CPU time, the same in every build: USER_HZ.
const TICKS_A_SECOND: f64 = 100.0;

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses, which may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS_A_SECOND)
}

fn parse_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
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
        assert_eq!(parse_bytes("VmHWM:\t 9 kB\nVmRSS:\t    5012 kB\n", "VmRSS:"), Some(5012 * 1024));
        assert_eq!(parse_bytes("VmHWM:\t 9 kB\n", "VmRSS:"), None);
    }

    #[test]
    fn reads_the_cpu_time_of_a_program_with_any_name() {
        let stat = "7 (a) b) R 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 12345 1000 200";
        assert_eq!(parse_cpu_seconds(stat), Some(3.0));
        assert_eq!(parse_cpu_seconds("7"), None);
    }
}
