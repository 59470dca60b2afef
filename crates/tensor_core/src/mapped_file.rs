//! A file seen as memory: the system reads a page when it is looked at, and forgets it when memory is short, so that a file
//! may be larger than memory.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use memmap2::Mmap;

/// The bytes of a file that nobody changes.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Looks at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let reading = || format!("reading {}", path.display());
        let file = File::open(path).with_context(reading)?;
        // SAFETY: the bytes are only read, as bytes. Whoever truncates the file meanwhile ends the program by a signal, which
        // every program that maps files shares.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.with_context(reading)?;
        Ok(Self(map))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
