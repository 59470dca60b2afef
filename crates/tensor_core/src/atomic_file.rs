//! Atomic file writes: a file is complete or absent, even if the process or the machine stops at
//! any moment.
//!
//! A file that replaces another one has its permissions. A new one has those that the umask of the
//! process allows, as any other file of a program. A symbolic link stays: the file that it leads to
//! is replaced. A device or a pipe is refused, since it cannot be written as a whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::regular_file::ensure_regular;

/// Beginning of the names of temporary files.
const TEMP_PREFIX: &str = ".partial-";
/// Number of links that a path may lead over.
const MAX_LINKS: usize = 40;

/// Writes `bytes` to a temporary file beside `path`, syncs it to disk, and renames it into place.
///
/// # Errors
/// When the folder cannot be written, or `path` is neither new nor a regular file. An existing file
/// at `path` stays, and no partial file is left.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_temp_file(path)?;
    file.write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    persist(file, path)
}

/// Empty temporary file in the folder of `path`, to be filled and given to [`persist`]. It is
/// deleted if it is dropped before that. Until then, no one else can read it who cannot read the
/// file at `path`.
///
/// # Errors
/// When the folder cannot be written, or `path` is neither new nor a regular file.
pub fn create_temp_file(path: &Path) -> Result<NamedTempFile> {
    let writing = || format!("writing {}", path.display());
    let path = &file_to_replace(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMP_PREFIX);
    if let Some(permissions) = initial_permissions(path) {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder.unwrap_or(Path::new("."))).with_context(writing)
}

/// Syncs `file` to disk and renames it to `path`.
///
/// # Errors
/// When the disk is full, or `path` is neither new nor a regular file. What is at `path` stays.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let path = &file_to_replace(path)?;
    // safetensors puts a file of its own in the place of `file`.
    let written = File::open(file.path()).with_context(writing)?;
    if cfg!(unix) {
        let created = || Ok(file.as_file().metadata()?.permissions());
        let permissions = permissions_of(path).map_or_else(created, io::Result::Ok);
        permissions.and_then(|own| written.set_permissions(own)).with_context(writing)?;
    }
    written.sync_all().with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// Path that `path` stands for: if it is a symbolic link, what that leads to, which may not exist.
///
/// # Errors
/// When the links lead in a circle.
pub fn follow_links(path: &Path) -> Result<PathBuf> {
    // A slash at the end would be followed by the system, and hide that this is a link.
    let mut target: PathBuf = path.components().collect();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&target) else { return Ok(target) };
        let folder = target.parent().unwrap_or(Path::new(""));
        target = folder.join(link).components().collect();
    }
    bail!("{} leads over too many symbolic links", path.display())
}

/// Path of the regular file, new or not, that a file written to `path` replaces.
fn file_to_replace(path: &Path) -> Result<PathBuf> {
    if let Ok(metadata) = fs::metadata(path) {
        ensure_regular(path, &metadata)?;
    }
    follow_links(path)
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

/// Permissions of the file at `path`, if there is one. Other systems than Unix give new files those
/// of their folder.
fn permissions_of(path: &Path) -> Option<Permissions> {
    let metadata = fs::metadata(path).ok().filter(|metadata| cfg!(unix) && metadata.is_file());
    metadata.map(|metadata| metadata.permissions())
}

/// Permissions with which a file in place of `path` is created, of which the umask leaves a part.
/// Its owner can write it even if the file there is read-only.
fn initial_permissions(path: &Path) -> Option<Permissions> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = permissions_of(path).map_or(0o666, |replaced| replaced.mode());
        Some(Permissions::from_mode((mode & 0o777) | 0o600))
    }
    #[cfg(not(unix))]
    {
        permissions_of(path)
    }
}
