//! Repository that the tasks work on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that programs write and git ignores.
const OUTPUTS: [&str; 6] = ["target", "runs", "work", "corpus", "artifacts", "coverage"];

/// Root of the repository, independent of the working directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files under `root`, relative to it, in the order of their paths. Build outputs, run folders,
/// a learner's work, inputs of fuzz targets and hidden folders are not among them, apart from
/// `.ci`.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_hidden = name.starts_with('.') && name != ".ci";
            match entry.file_type()?.is_dir() {
                true if is_hidden || OUTPUTS.contains(&name.as_str()) => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// True if the name of the file at `path` ends with `.` and `extension`.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}
