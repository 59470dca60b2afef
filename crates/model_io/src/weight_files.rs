//! Weights of a model folder in Hugging Face's layout, whatever the architecture: one safetensors
//! file, or several shards with an index; or the same as PyTorch's `.bin` files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use serde_json::Value;
use tensor_core::{json_file, weights};

use crate::pytorch_bin;

/// Weight file of a model that is not sharded.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// Files that hold or list the weights of a model: the first that exists counts.
pub(crate) const WEIGHT_LISTS: [&str; 4] = [
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Tensors of the model in `folder`, by name.
///
/// # Errors
/// When a file is missing or damaged, or its tensors differ from the index.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    match WeightIndex::open(folder)? {
        Some(index) => index.read(folder),
        None => load(&folder.join(weight_list(folder).unwrap_or(WEIGHTS_FILE))),
    }
}

/// Tensors of one file.
fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    match path.extension() {
        Some(extension) if extension == "bin" => pytorch_bin::load(path),
        _ => weights::load(path),
    }
}

/// File that holds or lists the weights of `folder`.
pub(crate) fn weight_list(folder: &Path) -> Option<&'static str> {
    WEIGHT_LISTS.into_iter().find(|file| folder.join(file).exists())
}

/// Creates `folder` and writes these JSON files and, last, `tensors` as `weights_file` into it.
///
/// Every file is written atomically, so a folder with weights is complete.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(
    folder: &Path,
    json_files: &[(&str, Value)],
    weights_file: &str,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, value) in json_files {
        json_file::write(&folder.join(name), value)?;
    }
    weights::save(&folder.join(weights_file), tensors)
}

/// Removes `lm_head` from the tensors of `origin`, if present: it is tied to the token embedding
/// `table`, but some programs store it as well.
///
/// # Errors
/// When the two tensors differ.
pub(crate) fn drop_tied_lm_head(
    tensors: &mut BTreeMap<String, Tensor>,
    lm_head: &str,
    table: &str,
    origin: impl Display,
) -> Result<()> {
    if let (Some(head), Some(rows)) = (tensors.remove(lm_head), tensors.get(table)) {
        let same = head.dims() == rows.dims()
            && (head - rows)?.abs()?.max_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.;
        ensure!(same, "{origin}: `{lm_head}` differs from `{table}`, though the model ties them");
    }
    Ok(())
}

/// Index of a sharded model: the file of each tensor.
pub(crate) struct WeightIndex {
    path: PathBuf,
    file_of: BTreeMap<String, String>,
}

impl WeightIndex {
    /// Opens the index of `folder`, if its weights are sharded.
    ///
    /// # Errors
    /// When the index is invalid, or names anything other than a weight file of this folder.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let Some(name) = weight_list(folder).filter(|name| name.ends_with(".json")) else {
            return Ok(None);
        };
        let path = folder.join(name);
        let extension = if name.contains(".bin") { ".bin" } else { ".safetensors" };
        let weight_map = json_file::read(&path)?["weight_map"].clone();
        let file_of: BTreeMap<String, String> = serde_json::from_value(weight_map)
            .with_context(|| format!("{} lacks a `weight_map`", path.display()))?;
        for file in file_of.values() {
            let is_plain = !file.starts_with('.') && !file.contains(['/', '\\', ':']);
            ensure!(
                is_plain && file.ends_with(extension),
                "{} names `{file}`, which is not a {extension} file of this folder",
                path.display()
            );
        }
        Ok(Some(Self { path, file_of }))
    }

    /// Names of the shards.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.file_of.values().map(String::as_str).collect()
    }

    fn read(&self, folder: &Path) -> Result<BTreeMap<String, Tensor>> {
        let index = self.path.display();
        let mut tensors = BTreeMap::new();
        for file in self.files() {
            for (name, tensor) in load(&folder.join(file))? {
                // transformers ignores tensors of a shard that the index does not list; so do we.
                if self.file_of.get(&name).is_some_and(|indexed| indexed == file) {
                    tensors.insert(name, tensor);
                }
            }
        }
        if let Some(name) = self.file_of.keys().find(|name| !tensors.contains_key(*name)) {
            bail!("{index} lists `{name}`, which its file does not contain");
        }
        Ok(tensors)
    }
}
