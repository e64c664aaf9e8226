//! Resident memory of a process.

/// `VmRSS` of a process's status file (`proc_pid_status(5)`), KiB.
pub(crate) fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::resident_kib;

    #[test]
    fn the_memory_of_this_process_is_read() {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        assert!(resident_kib(&status).is_some_and(|kib| kib > 100));
        assert_eq!(resident_kib("VmPeak:\t 10 kB\nVmRSS:\t    12 kB\n"), Some(12));
        assert_eq!(resident_kib("VmRSS: many\n"), None);
    }
}
