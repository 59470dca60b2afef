//! Opening files by name: regular files alone. A folder from anywhere may have a link to a device,
//! which never ends, or to a pipe, which waits for a writer.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Regular file, opened for reading.
#[derive(Debug)]
pub struct RegularFile {
    /// Opened file.
    pub file: File,
    /// Length in bytes when it was opened.
    pub len: u64,
}

/// Opens `path`, which may be a link to a regular file.
///
/// # Errors
/// When there is no such file, or it is something else.
pub fn open(path: &Path) -> Result<RegularFile> {
    let reading = || format!("reading {}", path.display());
    // Before opening it: to open a pipe waits for its writer.
    let metadata = std::fs::metadata(path).with_context(reading)?;
    ensure_regular(path, &metadata)?;
    let file = File::open(path).with_context(reading)?;
    let len = file.metadata().with_context(reading)?.len();
    Ok(RegularFile { file, len })
}

/// Checks that `path`, which has this `metadata`, is a regular file.
pub(crate) fn ensure_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    ensure!(
        metadata.is_file(),
        "{} is {}, not a regular file",
        path.display(),
        if metadata.is_dir() { "a folder" } else { "a device or a pipe" }
    );
    Ok(())
}

/// Bytes of the file at `path`, at most `max_len` of them.
///
/// # Errors
/// Those of [`open`]; when the file is longer, or cannot be read.
pub fn read(path: &Path, max_len: u64) -> Result<Vec<u8>> {
    let RegularFile { file, len } = open(path)?;
    ensure!(len <= max_len, "{} has {len} bytes, more than the limit of {max_len}", path.display());
    let mut bytes = Vec::with_capacity(len as usize);
    // The file may grow meanwhile.
    file.take(len)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}

/// Text of the file at `path`, at most `max_len` bytes.
///
/// # Errors
/// Those of [`read`]; when it is not UTF-8.
pub fn read_to_string(path: &Path, max_len: u64) -> Result<String> {
    String::from_utf8(read(path, max_len)?)
        .ok()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Names of the files in `folder` and in its subfolders, as paths relative to it, in no order.
/// Links to folders are not followed: they may form a cycle.
///
/// # Errors
/// When a folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    add_files(folder, "", &mut names)?;
    Ok(names)
}

fn add_files(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().with_context(reading)?.is_dir() {
            true => add_files(&entry.path(), &format!("{name}/"), names)?,
            false => names.push(name),
        }
    }
    Ok(())
}
