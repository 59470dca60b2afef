//! Data: SHA-256 of files and tokens, with which a run checks that it resumes with the same data.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::regular_file;

/// Digest as a hexadecimal string.
pub fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of `bytes`.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// SHA-256 of `numbers`, in little-endian order.
pub fn hash_u32s(numbers: impl Iterator<Item = u32>) -> String {
    hash_bytes(&numbers.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
}

/// SHA-256 of token sequences, including their lengths.
pub fn hash_token_sequences<'a>(sequences: impl Iterator<Item = &'a Vec<u32>>) -> String {
    hash_u32s(sequences.flat_map(|ids| [ids.len() as u32].into_iter().chain(ids.iter().copied())))
}

/// SHA-256 of the file at `path`.
///
/// # Errors
/// When the file cannot be read.
pub fn hash_file(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut hash = Sha256::new();
    io::copy(&mut regular_file::open(path)?.file, &mut hash).with_context(reading)?;
    Ok(hex(hash.finalize()))
}
