//! Memory of the process and of the machine, as Linux reports it.

/// Resident memory of the process in bytes, if the system reports it (Linux).
pub fn resident_bytes() -> Option<u64> {
    kernel_bytes("/proc/self/status", "VmRSS:")
}

/// Peak of the resident memory of the process in bytes, if the system reports it (Linux).
pub fn peak_resident_bytes() -> Option<u64> {
    kernel_bytes("/proc/self/status", "VmHWM:")
}

/// Available memory in bytes, as Linux estimates it (`MemAvailable`: without swapping).
pub fn available_bytes() -> Option<u64> {
    kernel_bytes("/proc/meminfo", "MemAvailable:")
}

/// Number of bytes in the line that begins with `label`, in a report of the kernel.
fn kernel_bytes(report: &str, label: &str) -> Option<u64> {
    let text = std::fs::read_to_string(report).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
