//! A corpus on disk: one text file, or a folder with `.txt` files at any depth, read one at a time.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// `path` itself if it is a file, else the `.txt` files in it, by name.
///
/// # Errors
/// When a folder cannot be read, or has none.
pub fn find(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    match path.is_dir() {
        false => files.push(path.to_path_buf()),
        true => add_folder(path, &mut files)?,
    }
    ensure!(!files.is_empty(), "there are no .txt files in {}", path.display());
    Ok(files)
}

/// Links to folders are not followed: they may lead in a circle.
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

/// The text of `file`.
///
/// # Errors
/// When it cannot be read, or is not UTF-8: the message says where.
pub fn read(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is not UTF-8: byte {at} begins no character", file.display())
    })
}

/// `text` in chunks of about `size` bytes, cut where GPT-2's pieces are cut anyway: before the first space after a word.
pub fn chunks(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let from = rest.ceil_char_boundary(size);
        let word = rest[from..].find(|c: char| !c.is_whitespace());
        let word = word.map_or(rest.len(), |at| from + at);
        let cut = rest[word..].find(char::is_whitespace).map_or(rest.len(), |at| word + at);
        let (chunk, after) = rest.split_at(cut);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}
