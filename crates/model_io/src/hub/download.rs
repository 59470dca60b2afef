//! Download of one file by hf-hub, with a progress bar, retries and a check of the final length.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hf_hub::api::Progress;
use hf_hub::api::sync::Api;
use hf_hub::{Cache, Repo};
use indicatif::{ProgressBar, ProgressStyle};

/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Downloads `file` into the cache, resuming an interrupted download.
pub(super) fn download(api: &Api, cache: &Cache, repo: &Repo, file: &str) -> Result<()> {
    let mut transfer = Transfer { size: 0, done: 0, bar: ProgressBar::hidden() };
    let (mut bytes_before, mut may_restart) = (0, true);
    // Retry as long as each attempt makes progress. (hf-hub's own retries start at byte 0 but
    // append to the partial file, so they are not used.)
    let path = loop {
        let error = match api.repo(repo.clone()).download_with_progress(file, &mut transfer) {
            Ok(path) => break path,
            Err(error) => error,
        };
        if transfer.done <= bytes_before {
            if !may_restart || !remove_finished_part(api, cache, repo, file) {
                return Err(error).context("run it again to resume the download");
            }
            may_restart = false;
        }
        bytes_before = transfer.done;
        sleep(RETRY_PAUSE);
    };
    // hf-hub does not check the length; a response without Content-Length may end early.
    let (received, expected) = (path.metadata()?.len(), transfer.size);
    if received != expected {
        remove_with_target(&path)?;
    }
    ensure!(received == expected, "received {received} of {expected} bytes; run it again");
    Ok(())
}

/// Removes a partial file that is already complete or too long, and returns whether it did.
///
/// An attempt interrupted between its last byte and the rename leaves such a file. hf-hub would
/// then request bytes past the end forever.
fn remove_finished_part(api: &Api, cache: &Cache, repo: &Repo, file: &str) -> bool {
    let Ok(metadata) = api.metadata(&api.repo(repo.clone()).url(file)) else { return false };
    let part = cache.repo(repo.clone()).blob_path(metadata.etag()).with_extension("part");
    let finished = part.metadata().is_ok_and(|part| part.len() >= metadata.size() as u64);
    finished && std::fs::remove_file(part).is_ok()
}

/// Removes a symbolic link of the cache and its target.
fn remove_with_target(path: &Path) -> std::io::Result<()> {
    let target = path.canonicalize()?;
    std::fs::remove_file(path)?;
    if target.exists() { std::fs::remove_file(target) } else { Ok(()) }
}

/// Download progress, shown as a bar, which indicatif hides unless stderr is a terminal.
struct Transfer {
    size: u64,
    /// Bytes on disk, including those of earlier attempts.
    done: u64,
    bar: ProgressBar,
}

impl Progress for &mut Transfer {
    fn init(&mut self, size: usize, file: &str) {
        self.finish(); // hf-hub calls `init` once per attempt
        let bar = ProgressBar::new(size as u64).with_message(file.to_string());
        let style = "{bar:12} {bytes}/{total_bytes}  {eta} left  {wide_msg:.bold}";
        let style = ProgressStyle::with_template(style).expect("a valid template");
        **self = Transfer { size: size as u64, done: 0, bar: bar.with_style(style) };
    }

    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        self.bar.inc(bytes as u64);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
