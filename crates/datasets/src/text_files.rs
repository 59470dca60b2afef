//! Data: files of a corpus, one text file or a folder with `.txt` files at any depth.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Text files at `path`: the file itself, or all `.txt` files in the folder, sorted by name.
///
/// # Errors
/// When a folder cannot be read, or does not contain `.txt` files.
pub fn find_text_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // A pipe cannot be read twice, and the corpus is.
    let readable_twice = path.is_dir() || path.is_file() || !path.exists();
    ensure!(readable_twice, "{} is neither a file nor a folder", path.display());
    match path.is_dir() {
        false => files.push(path.to_path_buf()),
        true => add_folder(path, &mut files)?,
    }
    ensure!(!files.is_empty(), "there are no .txt files in {}", path.display());
    Ok(files)
}

/// Adds the `.txt` files of `folder`. Symbolic links to folders are not followed: they may form a
/// cycle.
fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(reading)?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>().with_context(reading)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().with_context(reading)?.is_dir() {
            add_folder(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
