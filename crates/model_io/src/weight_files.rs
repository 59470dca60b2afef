//! Weights of a model folder in Hugging Face's layout, whatever the architecture: one safetensors
//! file, or several shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use serde_json::Value;
use tensor_core::{json_file, weights};

/// Weight file of a model that is not sharded.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// Index of a sharded model.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Tensors of the model in `folder`, by name.
///
/// # Errors
/// When a file is missing or damaged, or its tensors differ from the index.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    if let Some(index) = SafetensorsIndex::open(folder)? {
        return index.read(folder);
    }
    let single_file = folder.join(WEIGHTS_FILE);
    ensure!(
        single_file.exists() || !folder.join("pytorch_model.bin").exists(),
        "{} has its weights in pytorch_model.bin, a pickle file that can execute code: \
         convert it to safetensors with transformers' save_pretrained",
        folder.display()
    );
    weights::load(&single_file)
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

/// Removes `lm_head.weight` from the tensors of `origin`, if present: it is tied to the token
/// embedding `table`, but some programs store it as well.
///
/// # Errors
/// When the two tensors differ.
pub(crate) fn drop_tied_lm_head(
    tensors: &mut BTreeMap<String, Tensor>,
    table: &str,
    origin: impl Display,
) -> Result<()> {
    if let (Some(head), Some(rows)) = (tensors.remove("lm_head.weight"), tensors.get(table)) {
        let same = head.dims() == rows.dims()
            && (head - rows)?.abs()?.max_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.;
        ensure!(
            same,
            "{origin}: `lm_head.weight` differs from `{table}`, though the model ties them"
        );
    }
    Ok(())
}

/// Index of a sharded model: the file of each tensor.
pub(crate) struct SafetensorsIndex {
    path: PathBuf,
    file_of: BTreeMap<String, String>,
}

impl SafetensorsIndex {
    /// Opens the index of `folder`, if its weights are sharded.
    ///
    /// # Errors
    /// When the index is invalid, or names anything other than a safetensors file of this folder.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(INDEX_FILE);
        if folder.join(WEIGHTS_FILE).exists() || !path.exists() {
            return Ok(None);
        }
        let weight_map = json_file::read(&path)?["weight_map"].take();
        let file_of: BTreeMap<String, String> = serde_json::from_value(weight_map)
            .with_context(|| format!("{} lacks a `weight_map`", path.display()))?;
        for file in file_of.values() {
            let is_plain = !file.starts_with('.') && !file.contains(['/', '\\', ':']);
            ensure!(
                is_plain && file.ends_with(".safetensors"),
                "{} names `{file}`, which is not a safetensors file of this folder",
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
            for (name, tensor) in weights::load(&folder.join(file))? {
                if self.file_of.get(&name).is_none_or(|indexed| indexed != file) {
                    bail!("{file} contains `{name}`, which {index} does not list there");
                }
                tensors.insert(name, tensor);
            }
        }
        if let Some(name) = self.file_of.keys().find(|name| !tensors.contains_key(*name)) {
            bail!("{index} lists `{name}`, which its file does not contain");
        }
        Ok(tensors)
    }
}
