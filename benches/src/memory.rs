//! Memory: a read benchmark, and the memory use of this process.

use anyhow::{Context, Result};

/// Sum of `numbers`, computed in parallel: a plain read of memory at full bandwidth.
pub fn parallel_sum(numbers: &[f32], threads: usize) -> f32 {
    let sum_part = |part: &[f32]| {
        let mut sums = [0f32; 64];
        for chunk in part.as_chunks::<64>().0 {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
        }
        sums.iter().sum::<f32>()
    };
    let part_len = numbers.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            numbers.chunks(part_len).map(|part| scope.spawn(move || sum_part(part))).collect();
        parts.into_iter().map(|part| part.join().expect("sums do not panic")).sum()
    })
}

/// Memory of this process in bytes, by its field in `/proc/self/status`: `VmRSS` is the resident
/// memory, `VmHWM` its peak.
///
/// # Errors
/// When the file or the field is missing.
pub fn process_memory(field: &str) -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib = kib.with_context(|| format!("/proc/self/status has no field {field} in kB"))?;
    Ok(1024 * kib.parse::<u64>()?)
}
