//! Reading and atomic writing of `.safetensors` files (<https://huggingface.co/docs/safetensors>).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use crate::{MappedFile, atomic_file};

/// Start of the text file that git leaves in place of a large file.
const GIT_LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Limit of a tensor's name, which errors repeat.
const MAX_NAME_BYTES: usize = 1 << 10;

/// Writes `tensors` to `path`. Equal tensors give equal bytes.
///
/// # Errors
/// When the file cannot be written. An existing file at `path` stays.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    // transformers rejects files without the `format` entry.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let views = tensors.iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?)));
    let views = views.collect::<candle_core::Result<Vec<_>>>()?;
    // Tensor by tensor, or the file would stand in memory a second time.
    let file = atomic_file::create_temp_file(path)?;
    safetensors::serialize_to_file(views, Some(metadata), file.path())
        .with_context(|| format!("writing {}", path.display()))?;
    atomic_file::persist(file, path)
}

/// Tensors of the file at `path`, by name, without those of types that cannot be weights, such as
/// the causal masks of type BOOL in old files.
///
/// # Errors
/// When the file is not a regular one, cannot be read, or is not a complete safetensors file.
pub fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    // Mapped, so that a file whose length its header does not confirm takes no memory.
    let file = MappedFile::open(path)?;
    ensure!(
        !file.bytes().starts_with(GIT_LFS_POINTER),
        "{} is a git-lfs pointer instead of the file; run `git lfs pull`",
        path.display()
    );
    let content = SafeTensors::deserialize(file.bytes())
        .with_context(|| format!("{} is not a complete safetensors file", path.display()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in content.iter() {
        if name.len() > MAX_NAME_BYTES {
            bail!("{} has a tensor with a name of {} bytes", path.display(), name.len());
        }
        if DType::try_from(view.dtype()).is_ok() {
            tensors.insert(name.to_string(), view.load(&Device::Cpu)?);
        }
    }
    Ok(tensors)
}
