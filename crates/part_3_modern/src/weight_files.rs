//! The weights of a model folder: one safetensors file, or several and an index that says which tensor is where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use tensor_core::weights;
use tiny_gpt::json_file;

/// The file of a model whose weights are in one.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";
/// The index of one whose weights are in several.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Every tensor of the model in `folder`.
///
/// # Errors
/// When a file is missing or damaged, or the index says something else.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    if let Some(index) = SafetensorsIndex::open(folder)? {
        return index.read(folder);
    }
    let whole = folder.join(WEIGHTS_FILE);
    ensure!(
        whole.exists() || !folder.join("pytorch_model.bin").exists(),
        "{} has its weights in pytorch_model.bin, which may run code when it is opened: have transformers save it anew",
        folder.display()
    );
    weights::load(&whole)
}

/// Which file has which tensor.
pub(crate) struct SafetensorsIndex {
    path: PathBuf,
    file_of: BTreeMap<String, String>,
}

impl SafetensorsIndex {
    /// That of `folder`, if its weights are in several files.
    ///
    /// # Errors
    /// When it is no index, or names what is no safetensors file of this very folder.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(INDEX_FILE);
        if folder.join(WEIGHTS_FILE).exists() || !path.exists() {
            return Ok(None);
        }
        let json = json_file::read(&path)?;
        let map = json["weight_map"]
            .as_object()
            .with_context(|| format!("{} has no `weight_map`", path.display()))?;
        let mut file_of = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().unwrap_or_default();
            let plain = !file.starts_with('.') && !file.contains(['/', '\\', ':']);
            ensure!(
                plain && file.ends_with(".safetensors"),
                "{} names `{file}`, which is no safetensors file of this folder",
                path.display()
            );
            file_of.insert(tensor.clone(), file.to_string());
        }
        Ok(Some(Self { path, file_of }))
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.file_of.values().map(String::as_str).collect()
    }

    fn read(&self, folder: &Path) -> Result<BTreeMap<String, Tensor>> {
        let index = self.path.display();
        let mut tensors = BTreeMap::new();
        for file in self.files() {
            for (name, tensor) in weights::load(&folder.join(file))? {
                if self.file_of.get(&name).is_none_or(|place| place != file) {
                    bail!("{file} holds `{name}`, which {index} does not say");
                }
                tensors.insert(name, tensor);
            }
        }
        if let Some(name) = self.file_of.keys().find(|name| !tensors.contains_key(*name)) {
            bail!("{index} promises `{name}`, which no file holds");
        }
        Ok(tensors)
    }
}
