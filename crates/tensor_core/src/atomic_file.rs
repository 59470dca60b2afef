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
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(writing)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(writing)?;
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
