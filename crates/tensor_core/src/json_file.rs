//! JSON files: errors name the file, and writes are atomic.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{atomic_file, regular_file};

/// Limit of a file's length; the largest tokenizers have 35 MB. A value takes ten times as much
/// memory as its text.
const MAX_BYTES: u64 = 1 << 27;

/// JSON value in the file at `path`.
///
/// # Errors
/// When it is not a regular file of up to 128 MiB, cannot be read, or is not JSON.
pub fn read(path: &Path) -> Result<Value> {
    let bytes = regular_file::read(path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

/// JSON value in the file at `path`; null if the file does not exist.
///
/// # Errors
/// Those of [`read`].
pub fn read_or_null(path: &Path) -> Result<Value> {
    if path.exists() { read(path) } else { Ok(Value::Null) }
}

/// Writes `value` to `path`, pretty-printed.
///
/// # Errors
/// When the file cannot be written; its previous contents remain.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    atomic_file::write(path, text.as_bytes())
}
