//! A reader for untrusted headers: no length in the file causes an allocation that is larger than
//! the file.

use std::io::{BufReader, Read};

use anyhow::{Context, Result, ensure};

/// Initial capacity limit of a vector, whatever the file states; it then grows as elements are
/// read.
const FIRST_CAPACITY: usize = 1 << 16;

/// Reader that knows how many bytes are left.
pub(super) struct BoundedReader<R> {
    reader: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read> BoundedReader<R> {
    /// Reader at the start of a file of `length` bytes.
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self { reader: BufReader::new(reader), position: 0, length }
    }

    /// Number of bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Next number, for example `reader.scalar(u32::from_le_bytes)`.
    pub(super) fn scalar<const N: usize, T>(&mut self, from: fn([u8; N]) -> T) -> Result<T> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(from(bytes))
    }

    /// Results of `count` calls of `read`; an error names the index of the element.
    pub(super) fn list<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut list = Vec::with_capacity(count.min(FIRST_CAPACITY));
        for i in 0..count {
            list.push(read(self).with_context(|| format!("element {i}"))?);
        }
        Ok(list)
    }

    /// Next element count. Elements take at least `min_bytes` each; a count for which the rest of
    /// the file is too short is an error.
    pub(super) fn count(&mut self, what: &str, min_bytes: u64) -> Result<usize> {
        let (count, left) =
            (self.scalar(u64::from_le_bytes)?, self.length.saturating_sub(self.position));
        ensure!(
            count <= left / min_bytes,
            "{count} {what} expected, but only {left} bytes left: the file is truncated or damaged"
        );
        Ok(usize::try_from(count)?)
    }

    /// Next string: its length in bytes, then UTF-8.
    pub(super) fn string(&mut self) -> Result<String> {
        let count = self.count("bytes of a string", 1)?;
        self.claim(count as u64)?;
        let mut bytes = Vec::new(); // grows as bytes are read, for the same reason
        self.reader.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        ensure!(bytes.len() == count, "the file was truncated while it was read");
        let text = String::from_utf8(bytes);
        text.map_err(|error| {
            anyhow::anyhow!("the string {:?} is not UTF-8", excerpt(error.as_bytes()))
        })
    }

    fn claim(&mut self, bytes: u64) -> Result<()> {
        let left = self.length.saturating_sub(self.position);
        ensure!(
            bytes <= left,
            "the file ends at byte {} in the middle of its header: it is truncated",
            self.length
        );
        self.position += bytes;
        Ok(())
    }
}

/// First 40 bytes as text, for an error message.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
}
