//! Metadata that every family of models has under keys of its own.

use anyhow::Result;

use crate::gguf::Gguf;
use crate::gguf_family::GgufFamily;

/// Metadata of a file under the keys of its family, such as `llama.block_count`.
#[derive(Clone, Copy)]
pub(crate) struct Metadata<'a> {
    pub(crate) file: &'a Gguf,
    pub(crate) family: GgufFamily,
}

impl Metadata<'_> {
    fn key(self, name: &str) -> String {
        format!("{}.{name}", self.family.name())
    }

    pub(crate) fn size(self, name: &str) -> Result<usize> {
        self.file.get_usize(&self.key(name))
    }

    pub(crate) fn optional_size(self, name: &str) -> Result<Option<usize>> {
        self.file.get_optional(&self.key(name), Gguf::get_usize)
    }

    pub(crate) fn flag(self, name: &str) -> Result<bool> {
        self.file.get_bool(&self.key(name))
    }

    pub(crate) fn number(self, name: &str) -> Result<f64> {
        self.file.get_f64(&self.key(name))
    }

    pub(crate) fn optional_number(self, name: &str) -> Result<Option<f64>> {
        self.file.get_optional(&self.key(name), Gguf::get_f64)
    }
}
