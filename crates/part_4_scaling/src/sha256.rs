//! Names that follow from content: SHA-256, so that two runs can tell whether they speak of the same thing.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A digest in hexadecimal.
pub fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of these bytes.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Of these numbers: what is learned from, so that a checkpoint is not continued with something else.
pub fn hash_u32s(numbers: impl Iterator<Item = u32>) -> String {
    hash_bytes(&numbers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
}

/// Of texts, each a list of ids.
pub fn hash_token_sequences<'a>(texts: impl Iterator<Item = &'a Vec<u32>>) -> String {
    hash_u32s(texts.flat_map(|ids| [ids.len() as u32].into_iter().chain(ids.iter().copied())))
}

/// Of the file at `path`.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).with_context(reading)?, &mut hash).with_context(reading)?;
    Ok(hex(hash.finalize()))
}
