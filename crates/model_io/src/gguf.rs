//! GGUF, the checkpoint format of llama.cpp: metadata (sizes, tokenizer, chat template) and tensors
//! in one file.
//!
//! Versions 2 and 3, little-endian, as in
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Opening a file reads only its
//! header; tensors are read on demand. Files are untrusted, so the header is validated: a damaged
//! file is an error, never a panic and never a huge allocation.

mod bounded_reader;
mod value;
mod format;
mod header;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
pub use format::TensorFormat;
use half::{bf16, f16};
use header::Header;
pub use header::TensorInfo;
use tensor_core::regular_file::{self, RegularFile};
pub use value::{MetadataArray, MetadataValue};

/// Opened GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    length: u64,
    header: Header,
}

impl Gguf {
    /// Reads the header of `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not a GGUF file, is damaged, or has a tensor in a format
    /// that [`TensorFormat`] lacks.
    pub fn open(path: &Path) -> Result<Self> {
        let RegularFile { file, len: length } = regular_file::open(path)?;
        let header = header::parse(file, length)
            .with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Self { path: path.to_path_buf(), length, header })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Metadata value of `key`, if present.
    pub fn metadata(&self, key: &str) -> Option<&MetadataValue> {
        self.header.metadata.get(key)
    }

    /// All metadata, sorted by key.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &MetadataValue)> {
        self.header.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Metadata string.
    ///
    /// # Errors
    /// When the key is missing or its value is not a string.
    pub fn get_str(&self, key: &str) -> Result<&str> {
        self.get_typed(key, "a string", |value| match value {
            MetadataValue::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Metadata boolean.
    ///
    /// # Errors
    /// When the key is missing or its value is not a boolean.
    pub fn get_bool(&self, key: &str) -> Result<bool> {
        self.get_typed(key, "a boolean", |value| match value {
            MetadataValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// Metadata integer.
    ///
    /// # Errors
    /// When the key is missing or its value is not an integer, or is negative.
    pub fn get_usize(&self, key: &str) -> Result<usize> {
        self.get_typed(key, "a size", MetadataValue::as_usize)
    }

    /// Metadata number of any type.
    ///
    /// # Errors
    /// When the key is missing or its value is not a number.
    pub fn get_f64(&self, key: &str) -> Result<f64> {
        self.get_typed(key, "a number", MetadataValue::as_f64)
    }

    /// Metadata array of strings.
    ///
    /// # Errors
    /// When the key is missing or its value has another type.
    pub fn get_strings(&self, key: &str) -> Result<&[String]> {
        self.get_typed(key, "an array of strings", |value| match value {
            MetadataValue::Array(MetadataArray::Strings(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// Metadata array of numbers of any type.
    ///
    /// # Errors
    /// When the key is missing or its value has another type.
    pub fn get_f64s(&self, key: &str) -> Result<&[f64]> {
        self.get_typed(key, "an array of numbers", |value| match value {
            MetadataValue::Array(MetadataArray::Numbers(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// Metadata value of `key` through `get`, one of the methods above; `None` if the key is
    /// missing.
    ///
    /// # Errors
    /// When the value has another type.
    pub fn get_optional<'a, T>(
        &'a self,
        key: &str,
        get: impl FnOnce(&'a Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        self.metadata(key).map(|_| get(self, key)).transpose()
    }

    /// All tensors, sorted by name.
    pub fn tensor_infos(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.header.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// Shape and format of one tensor.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn tensor_info(&self, name: &str) -> Result<&TensorInfo> {
        let info = self.header.tensors.get(name);
        info.with_context(|| format!("{} has no tensor `{name}`", self.path.display()))
    }

    /// Raw bytes of one tensor.
    ///
    /// # Errors
    /// When there is no such tensor, or the file cannot be read or has changed since it was opened.
    pub fn read_tensor(&self, name: &str) -> Result<Vec<u8>> {
        let info = self.tensor_info(name)?;
        let context = || format!("reading tensor `{name}` of {}", self.path.display());
        // Each call opens its own file handle, so that threads can read concurrently.
        let RegularFile { mut file, len: length } = regular_file::open(&self.path)?;
        let changed = || format!("{} has changed since it was opened", self.path.display());
        ensure!(length == self.length, changed());
        file.seek(SeekFrom::Start(info.offset)).with_context(context)?;
        // The header check ensures that this is at most the file's length.
        let mut bytes = vec![0; info.bytes];
        file.read_exact(&mut bytes).with_context(context)?;
        Ok(bytes)
    }

    /// Values of an unquantized tensor.
    ///
    /// # Errors
    /// When the tensor is quantized; those of [`Gguf::read_tensor`].
    pub(crate) fn read_floats(&self, name: &str) -> Result<Vec<f32>> {
        let (format, bytes) = (self.tensor_info(name)?.format, self.read_tensor(name)?);
        let pairs = || bytes.as_chunks::<2>().0.iter();
        Ok(match format {
            TensorFormat::F32 => {
                bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
            }
            TensorFormat::F16 => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            TensorFormat::BF16 => pairs().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            TensorFormat::Quantized(_) => bail!("`{name}` is quantized"),
        })
    }

    /// Metadata value of `key`, converted by `get`.
    fn get_typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        get: impl FnOnce(&'a MetadataValue) -> Option<T>,
    ) -> Result<T> {
        let path = self.path.display();
        let value = self.header.metadata.get(key);
        let value = value.with_context(|| format!("{path} has no metadata `{key}`"))?;
        get(value)
            .with_context(|| format!("{path}: `{key}` is {}, expected {expected}", value.kind()))
    }
}

/// Parses `bytes`, the start of a file of `length` bytes, as a header.
#[cfg(test)]
pub(crate) fn check_header(bytes: &[u8], length: u64) -> Result<()> {
    header::parse(bytes, length).map(drop)
}
