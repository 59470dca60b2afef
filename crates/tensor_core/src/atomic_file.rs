//! Atomic file writes: a file is complete or absent, even if the process or the machine stops at
//! any moment.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Beginning of the names of temporary files.
const TEMP_PREFIX: &str = ".partial-";

/// Writes `bytes` to a temporary file beside `path`, syncs it to disk, and renames it into place.
///
/// # Errors
/// When the folder cannot be written. An existing file at `path` stays, and no partial file is
/// left.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_temp_file(path)?;
    file.write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    persist(file, path)
}

/// Empty temporary file in the folder of `path`, to be filled and given to [`persist`]. It is
/// deleted if it is dropped before that.
///
/// # Errors
/// When the folder cannot be written.
pub fn create_temp_file(path: &Path) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file =
        tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder.unwrap_or(Path::new(".")));
    file.with_context(|| format!("writing {}", path.display()))
}

/// Syncs `file` to disk and renames it to `path`.
///
/// # Errors
/// When the disk is full. An existing file at `path` stays.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    file.as_file().sync_all().with_context(writing)?;
    share_with_other_users(&file).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// Removes the temporary files in `folder` that a killed process has left there. No other process
/// may be writing the folder. A missing folder has none.
///
/// # Errors
/// When the folder cannot be read, or a file cannot be removed.
pub fn remove_temp_files(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let removing = || format!("removing temporary files in {}", folder.display());
    for entry in fs::read_dir(folder).with_context(removing)? {
        let entry = entry.with_context(removing)?;
        if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            fs::remove_file(entry.path()).with_context(removing)?;
        }
    }
    Ok(())
}

/// Makes the file readable by all users: temporary files are readable by their owner alone, and a
/// model is not a secret.
fn share_with_other_users(file: &NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
