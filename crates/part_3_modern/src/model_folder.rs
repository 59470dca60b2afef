//! Model folders in Hugging Face's layout: what transformers saves opens here, and the other way round.
//!
//! The parameters in memory bear the names of the files, so there is nothing to translate. Large models come in several
//! files, with an index that says which tensor is where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tensor_core::{Parameters, atomic_file, weights};

use crate::config_json;
use crate::{GptModern, ModelConfig};

/// The tokens at which texts begin and end, as a model's files name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextEnds {
    /// Before a text.
    pub bos: Option<u32>,
    /// After a text, or a turn of a chat: any of these.
    pub eos: Vec<u32>,
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`. The weights come last, each file
/// whole or not at all, so a folder with weights is a whole model.
///
/// # Errors
/// When the weights are quantized, or a file cannot be written.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    parameters: &Parameters,
    ends: &TextEnds,
) -> Result<()> {
    check_unquantized(parameters)?;
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let write = |name: &str, value: &Value| {
        atomic_file::write(&folder.join(name), format!("{value:#}\n").as_bytes())
    };
    let eos = match ends.eos[..] {
        [] => Value::Null,
        [one] => json!(one),
        _ => json!(ends.eos),
    };
    let mut json = config_json::to_json(config);
    let dtype = match parameters.dtype() {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        DType::F64 => "float64",
        _ => "float32",
    };
    (json["bos_token_id"], json["eos_token_id"]) = (json!(ends.bos), eos.clone());
    json["dtype"] = json!(dtype);
    write("config.json", &json)?;
    write("generation_config.json", &json!({ "bos_token_id": ends.bos, "eos_token_id": eos }))?;
    let tensors = parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor()));
    weights::save(&folder.join("model.safetensors"), &tensors.collect())
}

/// A model folder holds numbers.
///
/// # Errors
/// When some weights are in blocks.
pub(crate) fn check_unquantized(parameters: &Parameters) -> Result<()> {
    ensure!(
        !parameters.is_quantized(),
        "the model's weights are quantized, which a model folder cannot hold: open it dequantized, with Purpose::Training"
    );
    Ok(())
}

/// Opens a folder, its numbers turned into `dtype`.
///
/// # Errors
/// When a file is missing or damaged, the architecture is another one, or a tensor is missing, unknown or misshapen.
pub fn open(folder: &Path, dtype: DType, device: &Device) -> Result<(GptModern, Parameters)> {
    let path = folder.join("config.json");
    let config = config_json::from_json(&read_json(&path)?)
        .with_context(|| format!("{} describes no model for this part", path.display()))?;
    let mut tensors = read_weights(folder)?;
    tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq")); // old files store what follows from the config
    if let (Some(head), Some(table)) =
        (tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight"))
        && config.output == crate::config::OutputLayer::Tied
    {
        let same = head.dims() == table.dims()
            && (head - table)?.abs()?.max_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()? == 0.;
        ensure!(
            same,
            "{}: `lm_head.weight` differs from the token table, though `tie_word_embeddings` says otherwise",
            folder.display()
        );
        tensors.remove("lm_head.weight");
    }
    build(&config, tensors, folder, dtype, device)
}

/// A model of tensors under their Hugging Face names, read from `origin`.
///
/// # Errors
/// When a tensor is missing, unknown or misshapen.
pub fn build(
    config: &ModelConfig,
    tensors: BTreeMap<String, Tensor>,
    origin: &Path,
    dtype: DType,
    device: &Device,
) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::from_tensors(tensors, origin.display(), 0, dtype, device);
    let model = GptModern::new(config, parameters.root())?;
    parameters.finish()?;
    Ok((model, parameters))
}

/// The special tokens that a folder names: those of `generation_config.json`, else those of `config.json`.
///
/// # Errors
/// When a file is damaged.
pub fn text_ends(folder: &Path) -> Result<TextEnds> {
    let mut ends = TextEnds::default();
    for name in ["generation_config.json", "config.json"] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let json = read_json(&path)?;
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        if ends.eos.is_empty() {
            ends.eos = match &json["eos_token_id"] {
                Value::Array(ids) => ids.iter().filter_map(id).collect(),
                one => id(one).into_iter().collect(),
            };
        }
        ends.bos = ends.bos.or_else(|| id(&json["bos_token_id"]));
    }
    Ok(ends)
}

fn read_json(path: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The tensors of `model.safetensors`, or of the files that `model.safetensors.index.json` names.
fn read_weights(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    let (whole, index) =
        (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    if whole.exists() || !index.exists() {
        ensure!(
            whole.exists() || !folder.join("pytorch_model.bin").exists(),
            "{} has its weights in pytorch_model.bin, which may run code when it is opened: have transformers save it anew",
            folder.display()
        );
        return weights::open(&whole);
    }
    let json = read_json(&index)?;
    let map = json["weight_map"]
        .as_object()
        .with_context(|| format!("{} has no `weight_map`", index.display()))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        let file = file.as_str().unwrap_or_default();
        let plain =
            matches!(Path::new(file).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        ensure!(plain, "{} names `{file}`, which is no file of this folder", index.display());
        files.insert(file);
    }
    let mut tensors = BTreeMap::new();
    for file in files {
        for (name, tensor) in weights::open(&folder.join(file))? {
            if map.get(&name).and_then(Value::as_str) != Some(file) {
                bail!("{file} holds `{name}`, which {} does not say", index.display());
            }
            tensors.insert(name, tensor);
        }
    }
    if let Some(name) = map.keys().find(|name| !tensors.contains_key(*name)) {
        bail!("{} promises `{name}`, which no file holds", index.display());
    }
    Ok(tensors)
}
