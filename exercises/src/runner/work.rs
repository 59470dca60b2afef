//! The folder `exercises/work`: all that a learner edits, ignored by git.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::entry::Entry;

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Folder of the learner's work.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("work")
}

/// Learner's file of `entry`.
pub fn file(entry: &Entry) -> PathBuf {
    folder().join(entry.path())
}

/// Learner's file of `entry` as a person names it.
pub fn shown(entry: &Entry) -> String {
    format!("exercises/work/{}", entry.path())
}

/// Copies the stub of `entry` if there is no file yet.
///
/// # Errors
/// When the folder cannot be written.
pub fn start(entry: &Entry) -> Result<()> {
    let path = file(entry);
    if !path.exists() {
        fs::create_dir_all(path.parent().expect("the path has a folder"))
            .with_context(|| format!("making the folder of {}", path.display()))?;
        tensor_core::atomic_file::write(&path, entry.stub().as_bytes())?;
    }
    Ok(())
}

/// Lock of the folder, held as long as the file lives: one runner at a time compiles and grades.
///
/// # Errors
/// When another runner holds it, and does so for half a minute.
pub fn lock() -> Result<File> {
    lock_of(&folder(), Duration::from_secs(30))
}

/// Lock of `folder`, as [`lock`] takes it.
///
/// # Errors
/// When another runner holds it for the time `patience`.
pub fn lock_of(folder: &Path, patience: Duration) -> Result<File> {
    let path = folder.join("lock");
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(TryLockError::WouldBlock) => bail!(
                "another `cargo x learn` is grading: if it is watching, end it (q) or use it; \
                 `hint`, `list`, `solution` and `predict` work beside it"
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}
