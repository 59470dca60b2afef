//! Memory: how fast it is read, and how much of it this process holds.

use anyhow::{Context, Result};

/// The sum of the numbers, a part of them by each thread.
pub fn sum(numbers: &[f32], threads: usize) -> f32 {
    let add = |part: &[f32]| {
        let mut sums = [0f32; 64];
        for chunk in part.as_chunks::<64>().0 {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
        }
        sums.iter().sum::<f32>()
    };
    let part = numbers.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            numbers.chunks(part).map(|part| scope.spawn(move || add(part))).collect();
        parts.into_iter().map(|part| part.join().expect("sums do not panic")).sum()
    })
}

/// A number of bytes that the system keeps of this process: VmRSS what is in memory now, VmHWM the most so far.
///
/// # Errors
/// When the system does not say.
pub fn resident(what: &str) -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(1024 * kib.context("/proc/self/status has no such line")?.parse::<u64>()?)
}
