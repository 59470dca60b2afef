//! Weights in PyTorch's `.bin` files: a zip archive with a pickle, which describes the tensors, and
//! one uncompressed file for the numbers of each.
//!
//! A pickle is a program for a stack machine, which in Python may call any function. Here nothing
//! is called: the machine knows the instructions and names with which `torch.save` writes a dict of
//! tensors, and refuses all others. candle's reader copies an object whenever it is mentioned, so
//! that a file of a kilobyte can ask for gigabytes; here values share what they have in common, and
//! the size of the pickle and the depth of its tuples are limited.

mod pickle;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use pickle::Machine;
use tensor_core::MappedFile;
use zip::{CompressionMethod, ZipArchive};

/// Limit of a pickle, which describes a tensor in about 100 bytes.
const MAX_PICKLE_BYTES: usize = 4 << 20;

/// Tensors of the file at `path` by name, without those of types that cannot be weights, such as
/// causal masks.
///
/// # Errors
/// When the file is damaged, of the format before PyTorch 1.6, or holds anything other than a dict
/// of tensors.
pub(crate) fn load(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = MappedFile::open(path)?;
    read(file.bytes()).with_context(|| {
        format!(
            "{} is not a dict of weights as torch.save writes it, which \
             `save_pretrained(folder, safe_serialization=True)` of transformers converts",
            path.display()
        )
    })
}

fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let mut archive = Archive::open(bytes)?;
    let pickle = archive.entry("data.pkl")?;
    ensure!(pickle.len() <= MAX_PICKLE_BYTES, "its pickle has {} bytes", pickle.len());
    let entries = Machine::default().run(pickle)?;
    let (mut tensors, mut loaded) = (BTreeMap::new(), HashMap::new());
    let mut n_bytes = 0;
    for (name, view) in entries {
        let Some(dtype) = view.storage.dtype else { continue };
        let tensor = match loaded.get(&view) {
            Some(tensor) => Tensor::clone(tensor), // tied weights
            None => {
                let storage = archive.entry(&format!("data/{}", view.storage.key))?;
                let numbers = view.bytes(storage, dtype.size_in_bytes());
                let numbers = numbers.with_context(|| format!("reading `{name}`"))?;
                n_bytes += numbers.len();
                ensure!(n_bytes <= bytes.len(), "its tensors are larger than the file");
                Tensor::from_raw_buffer(&numbers, dtype, &view.size, &Device::Cpu)?
            }
        };
        loaded.insert(view, tensor.clone());
        tensors.insert(name.to_string(), tensor);
    }
    ensure!(!tensors.is_empty(), "it holds no tensors");
    Ok(tensors)
}

/// Zip archive of uncompressed files below one folder.
struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).context("it is not a zip archive")?;
        let pickle = zip.file_names().flatten().find(|name| name.ends_with("/data.pkl"));
        let pickle = pickle.context("it has no data.pkl")?;
        let folder = pickle.trim_end_matches("data.pkl").to_string();
        Ok(Self { bytes, zip, folder })
    }

    /// Content of the file `name`.
    fn entry(&mut self, name: &str) -> Result<&'a [u8]> {
        let name = format!("{}{name}", self.folder);
        let entry =
            self.zip.by_name_raw(name.as_bytes()).with_context(|| format!("it has no {name}"))?;
        ensure!(entry.compression() == CompressionMethod::Stored, "{name} is compressed");
        let start = entry.data_start().map(usize::try_from);
        let (Some(Ok(start)), Ok(len)) = (start, usize::try_from(entry.size())) else {
            bail!("{name} is too large");
        };
        let content = start.checked_add(len).and_then(|end| self.bytes.get(start..end));
        content.with_context(|| format!("{name} is truncated"))
    }
}
