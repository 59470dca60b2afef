//! Run folder of a rank that is not the first: a temporary one, in which it does what the first
//! does in `--out`. For a resumed run, it has what the first has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use ranks::Ranks;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::Checkpoints;
use crate::run_folder::CHECKPOINTS;

/// Files and folders that a run is resumed with, beside its newest checkpoint.
const RESUMED: [&str; 4] = ["config.json", "metrics.jsonl", "data", "base"];

/// Start of the names of the temporary folders.
const PREFIX: &str = "llm-from-scratch-rank-";
/// File in a temporary folder that its process keeps locked.
const LOCK: &str = "lock";
/// Age of the file from which on it was locked, if its process is alive.
const LOCKED_BY: Duration = Duration::from_secs(60);

/// Temporary folder of this process, and its lock.
static FOLDER: Mutex<Option<(TempDir, File)>> = Mutex::new(None);

/// A file of the run folder of the first rank.
#[derive(Serialize, Deserialize)]
struct CopiedFile {
    /// Path in the folder.
    path: PathBuf,
    n_bytes: usize,
}

/// Run folder of this process, one of several `ranks`: `out` for the first. With `is_resumed`, the
/// others get what the first has there.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn run_folder_of_rank(ranks: &Ranks, out: &Path, is_resumed: bool) -> Result<PathBuf> {
    let files = ranks.on_first(|| if is_resumed { resumed_files(out) } else { Ok(Vec::new()) })?;
    let folder = match ranks.is_first() {
        true => out.to_path_buf(),
        false => new_folder()?,
    };
    copy(ranks, &folder, files)?;
    Ok(folder)
}

/// Gives all `ranks` the files of the first in `folder`, whose path may differ from rank to rank.
///
/// # Errors
/// When a file cannot be read or written, or another rank has ended.
pub fn copy_from_first(ranks: &Ranks, folder: &Path) -> Result<()> {
    let files = ranks.on_first(|| {
        let mut files = Vec::new();
        collect(folder, folder, &mut files)?;
        Ok(files)
    })?;
    copy(ranks, folder, files)
}

/// Gives all `ranks` these `files` of the first in `folder`.
fn copy(ranks: &Ranks, folder: &Path, files: Vec<CopiedFile>) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    for CopiedFile { path, n_bytes } in files {
        let mut bytes = Vec::with_capacity(n_bytes);
        let path = folder.join(path);
        if ranks.is_first() {
            bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        }
        ranks.broadcast(&mut bytes)?;
        if !ranks.is_first() {
            fs::create_dir_all(path.parent().unwrap_or(folder))
                .and_then(|()| fs::write(&path, bytes))
                .with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes the temporary folder of this process.
pub(crate) fn remove() {
    drop(FOLDER.lock().ok().and_then(|mut folder| folder.take()));
}

fn new_folder() -> Result<PathBuf> {
    remove_abandoned(&std::env::temp_dir());
    let creating = "creating a temporary folder";
    let folder = TempDir::with_prefix(PREFIX).context(creating)?;
    let lock = File::create(folder.path().join(LOCK)).context(creating)?;
    let _ = lock.try_lock(); // a file system may have no locks
    let path = folder.path().join("run");
    if let Ok(mut place) = FOLDER.lock() {
        *place = Some((folder, lock));
    }
    Ok(path)
}

/// Removes the folders in `temp` of ranks that were killed, as far as this user may: they hold
/// copies of a run.
pub(crate) fn remove_abandoned(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PREFIX) && is_abandoned(&folder) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// True if no process has locked the temporary `folder`.
fn is_abandoned(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    let created = lock.metadata().and_then(|metadata| metadata.modified());
    let age = created.ok().and_then(|created| created.elapsed().ok());
    age.is_some_and(|age| age > LOCKED_BY) && lock.try_lock().is_ok()
}

/// Files of the run folder `out` that a resumed run reads.
fn resumed_files(out: &Path) -> Result<Vec<CopiedFile>> {
    let mut files = Vec::new();
    for name in RESUMED {
        collect(out, &out.join(name), &mut files)?;
    }
    let checkpoints = Checkpoints::new(out.join(CHECKPOINTS), std::num::NonZeroUsize::MIN);
    if let Some((_, folder)) = checkpoints.latest()? {
        collect(out, &folder, &mut files)?;
    }
    Ok(files)
}

/// Adds the file `path` in `out`, or those of the folder `path`, to `files`.
fn collect(out: &Path, path: &Path, files: &mut Vec<CopiedFile>) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(reading)? {
            collect(out, &entry.with_context(reading)?.path(), files)?;
        }
    } else if path.is_file() {
        let n_bytes = path.metadata().with_context(reading)?.len() as usize;
        files.push(CopiedFile { path: path.strip_prefix(out)?.to_path_buf(), n_bytes });
    }
    Ok(())
}
