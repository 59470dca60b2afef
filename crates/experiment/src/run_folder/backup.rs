//! Backup of an existing run: it is moved aside to `NAME.previous` before a new one takes its
//! place. A lock keeps a run that another process is writing where it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::location::{CHECKPOINTS, MODEL_FOLDERS, holds_run};
use crate::terminal::printable;

/// File that a process locks while it writes the run.
pub(super) const LOCK: &str = ".lock";

/// Renames a folder that holds a run, so that nothing is lost. An older `.previous` is removed,
/// unless it has checkpoints, or it has a model and this run does not.
pub(super) fn back_up_existing_run(path: &Path) -> Result<()> {
    if !holds_run(path) {
        return Ok(());
    }
    let _lock = lock_run(path)?; // fails if a process is writing the run
    let holds = |path: &Path, file: &str| path.join(file).exists();
    let previous = backup_path(path)?;
    if previous.exists() {
        ensure!(
            holds_run(&previous),
            "{} exists and is not a run folder: move it away or name another --out",
            previous.display()
        );
        let holds_model = |path: &Path| MODEL_FOLDERS.iter().any(|folder| holds(path, folder));
        if holds_model(&previous) && !holds_model(path) && !holds(path, CHECKPOINTS) {
            remove_folder(path)?;
            eprintln!(
                "the existing run saved no model and was removed; {} is kept",
                printable(&previous.to_string_lossy())
            );
            return Ok(());
        }
        remove_folder(&previous)?;
    }
    fs::rename(path, &previous)
        .with_context(|| format!("moving {} to {}", path.display(), previous.display()))?;
    let previous = previous.to_string_lossy();
    eprintln!("the existing run was moved to {}", printable(&previous));
    Ok(())
}

/// Removes the folder `path`. It is renamed first, so that what a killed process leaves of it is
/// not in the way of another run; the next call removes that.
fn remove_folder(path: &Path) -> Result<()> {
    let removing = || format!("removing {}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let removed = path.with_file_name(format!("{name}.removed"));
    if removed.exists() {
        fs::remove_dir_all(&removed).with_context(removing)?;
    }
    fs::rename(path, &removed).with_context(removing)?;
    fs::remove_dir_all(&removed).with_context(removing)
}

/// Path that the run at `path` is moved to: the first `.previous` folder without checkpoints.
///
/// # Errors
/// When `path` does not end with a folder name.
pub fn backup_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("the path of the run folder must end with a name")?;
    let with_suffix = |suffix: String| {
        path.with_file_name(format!("{}.previous{suffix}", name.to_string_lossy()))
    };
    let mut previous = with_suffix(String::new());
    for number in 2.. {
        if !previous.join(CHECKPOINTS).exists() {
            break;
        }
        previous = with_suffix(format!("-{number}"));
    }
    Ok(previous)
}

/// Locks the run at `path` for this process, as long as the file stays open.
///
/// # Errors
/// When another process holds the lock.
pub fn lock_run(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let opened = OpenOptions::new().create(true).append(true).open(&file);
    let opened = opened.with_context(|| format!("writing {}", file.display()))?;
    if let Err(TryLockError::WouldBlock) = opened.try_lock() {
        bail!("another process is writing the run in {}", path.display());
    }
    Ok(opened) // also on a file system without locks
}
