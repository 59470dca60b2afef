//! Memory-mapped files. The system reads a page on its first access and drops it when memory is
//! short, so a file may be larger than memory.

use std::path::Path;

use anyhow::{Context, Result};
use memmap2::Mmap;

use crate::regular_file;

/// Bytes of a memory-mapped file that does not change while it is open.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps `path` into memory.
    ///
    /// # Errors
    /// When the file is not a regular one, or cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = regular_file::open(path)?.file;
        // SAFETY: the bytes are only read, as bytes. If another process truncates the file
        // meanwhile, a signal ends the program, as in every program that maps files.
        #[allow(unsafe_code)]
        let map =
            unsafe { Mmap::map(&file) }.with_context(|| format!("reading {}", path.display()))?;
        Ok(Self(map))
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
