//! Files that are there whole or not at all, whenever the process or the machine stops.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Writes `bytes` beside `path`, waits until the disk has them, and renames the file into place.
///
/// # Errors
/// When the folder cannot be written; what stood at `path` before stays, and no partial file is left.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_temp_file(path)?;
    file.write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    persist(file, path)
}

/// An empty file in the folder of `path`, to be filled and given to [`persist`]; until then it goes away by itself.
///
/// # Errors
/// When the folder cannot be written.
pub fn create_temp_file(path: &Path) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    file.with_context(|| format!("writing {}", path.display()))
}

/// Waits until the disk has `file`, and renames it to `path`.
///
/// # Errors
/// When the disk is full; what stood at `path` before stays.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    file.as_file().sync_all().with_context(writing)?;
    share_with_other_users(&file).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// A temporary file is readable by its owner alone; a model is not a secret.
fn share_with_other_users(file: &NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}
