//! One file from the Hub: hf-hub downloads, we show how far it is and check that all of it came.

use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hf_hub::api::Progress;
use hf_hub::api::sync::Api;
use hf_hub::{Cache, Repo};
use indicatif::{ProgressBar, ProgressStyle};

/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Downloads `file` into the cache, going on where an earlier try was cut off.
pub(crate) fn download(api: &Api, cache: &Cache, repo: &Repo, file: &str) -> Result<()> {
    let mut transfer = Transfer::default();
    let (mut best, mut may_begin_anew) = (0, true);
    // Again as long as each try brings something. (hf-hub's own retries begin at byte 0 but append to what is there.)
    let path = loop {
        let failure = match api.repo(repo.clone()).download_with_progress(file, &mut transfer) {
            Ok(path) => break path,
            Err(failure) => failure,
        };
        if transfer.done <= best {
            if !may_begin_anew || !remove_finished_part(api, cache, repo, file) {
                return Err(failure).context("run it again to go on from where it stopped");
            }
            may_begin_anew = false;
        }
        best = transfer.done;
        sleep(RETRY_PAUSE);
    };
    // hf-hub takes what comes; a server that does not say how much it sends may stop early.
    let came = path.metadata()?.len();
    if came != transfer.size {
        remove_with_target(&path)?;
    }
    ensure!(came == transfer.size, "{came} bytes came instead of {}; run it again", transfer.size);
    Ok(())
}

/// A try that was stopped between its last byte and its renaming leaves a partial file that has everything, or more;
/// hf-hub would ask for what comes after the end, forever.
fn remove_finished_part(api: &Api, cache: &Cache, repo: &Repo, file: &str) -> bool {
    let Ok(metadata) = api.metadata(&api.repo(repo.clone()).url(file)) else { return false };
    let part = cache.repo(repo.clone()).blob_path(metadata.etag()).with_extension("part");
    let finished = part.metadata().is_ok_and(|part| part.len() >= metadata.size() as u64);
    finished && std::fs::remove_file(part).is_ok()
}

/// Removes a link of the cache and the file behind it.
fn remove_with_target(path: &Path) -> std::io::Result<()> {
    let target = path.canonicalize()?;
    std::fs::remove_file(path)?;
    if target.exists() { std::fs::remove_file(target) } else { Ok(()) }
}

/// How far a download is; a bar on a terminal, silence elsewhere.
#[derive(Default)]
struct Transfer {
    size: u64,
    /// Bytes that are here, those of earlier tries included.
    done: u64,
    bar: Option<ProgressBar>,
}

impl Progress for &mut Transfer {
    fn init(&mut self, size: usize, file: &str) {
        self.size = size as u64;
        self.done = 0;
        self.finish(); // hf-hub begins anew when it tries again
        let style = "{bar:12} {bytes}/{total_bytes}  {eta} left  {wide_msg:.bold}";
        if let (true, Ok(style)) = (stderr().is_terminal(), ProgressStyle::with_template(style)) {
            self.bar =
                Some(ProgressBar::new(self.size).with_style(style).with_message(file.to_string()));
        }
    }

    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        self.bar.iter().for_each(|bar| bar.inc(bytes as u64));
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
