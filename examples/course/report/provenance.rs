//! Provenance of a run: the machine and the commit.

use std::process::Command;

use experiment::machine::processor_name;

/// Name of the processor, number of cores and system.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let name = processor_name();
    format!("{name}, {cores} cores, {}", std::env::consts::OS)
}

/// Short hash of the commit, with a `+` if tracked files have changed; `None` without git.
pub(crate) fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output =
            Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { commit + "+" })
}
