//! JSON files: errors say which file it is, and a file is there whole or not at all.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use tensor_core::atomic_file;

/// JSON value in the file at `path`.
///
/// # Errors
/// When it cannot be read or is not JSON.
pub fn read(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

/// JSON value in the file at `path`; null if the file does not exist.
///
/// # Errors
/// When it cannot be read or is not JSON.
pub fn read_or_null(path: &Path) -> Result<Value> {
    if path.exists() { read(path) } else { Ok(Value::Null) }
}

/// Writes `value` to `path`, for people to read too.
///
/// # Errors
/// When the file cannot be written; what was there before stays.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    atomic_file::write(path, text.as_bytes())
}
