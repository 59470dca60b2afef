//! Tensors in a `.safetensors` file (<https://huggingface.co/docs/safetensors>), written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use crate::atomic_file;

/// Writes `tensors` to `path`. The same tensors give the same bytes.
///
/// # Errors
/// When the file cannot be written; what was there before stays.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    // transformers refuses files that do not say which framework's layout they follow.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let views = tensors.iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?)));
    let views = views.collect::<candle_core::Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, Some(metadata))?;
    atomic_file::write(path, &bytes)
}

/// Reads every tensor of `path` into memory.
///
/// # Errors
/// When the file cannot be read, or is not a whole safetensors file.
pub fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .with_context(|| format!("{} is no whole safetensors file", path.display()))?;
    Ok(tensors.into_iter().collect())
}
