//! Model folders in Hugging Face's layout: what transformers saves opens here, and the other way round.
//!
//! The parameters in memory bear the names of the files, so there is nothing to translate.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tensor_core::Parameters;
use tiny_gpt::json_file;
use tiny_gpt::model_folder::drop_tied_lm_head;

use crate::config::LmHead;
use crate::sampler::Sampler;
use crate::{GptModern, ModelConfig, config_json, generation_config, weight_files};

/// The tokens at which texts begin and end, as a model's files name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokenIds {
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
    ends: &SpecialTokenIds,
    sampler: Option<&Sampler>,
) -> Result<()> {
    save_with_config_json(folder, config_json::to_json(config), parameters, ends, sampler)
}

/// The same for a model that `json` describes.
///
/// # Errors
/// As [`save`].
pub fn save_with_config_json(
    folder: &Path,
    mut json: Value,
    parameters: &Parameters,
    ends: &SpecialTokenIds,
    sampler: Option<&Sampler>,
) -> Result<()> {
    ensure_unquantized(parameters)?;
    let eos = match ends.eos[..] {
        [] => Value::Null,
        [one] => json!(one),
        _ => json!(ends.eos),
    };
    let dtype = match parameters.dtype() {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        DType::F64 => "float64",
        _ => "float32",
    };
    (json["bos_token_id"], json["eos_token_id"]) = (json!(ends.bos), eos.clone());
    json["dtype"] = json!(dtype);
    let mut generation = json!({ "bos_token_id": ends.bos, "eos_token_id": eos });
    if let Some(sampler) = sampler {
        generation_config::write_sampler(&mut generation, sampler);
    }
    let tensors = parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor()));
    let files = [("config.json", json), ("generation_config.json", generation)];
    tiny_gpt::model_folder::write_model_folder(folder, &files, &tensors.collect())
}

/// A model folder holds numbers.
///
/// # Errors
/// When some weights are in blocks.
pub(crate) fn ensure_unquantized(parameters: &Parameters) -> Result<()> {
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
    let config = config_json::from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} describes no model for this part", path.display()))?;
    model_from_tensors(&config, read_tensors(folder, config.lm_head)?, folder, dtype, device)
}

/// The tensors of a folder, each once.
///
/// # Errors
/// When a file is missing or damaged.
pub fn read_tensors(folder: &Path, output: LmHead) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = weight_files::read(folder)?;
    tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq")); // old files store what follows from the config
    if output == LmHead::Tied {
        drop_tied_lm_head(&mut tensors, "model.embed_tokens.weight", folder)?;
    }
    Ok(tensors)
}

/// A model of tensors under their Hugging Face names, read from `origin`.
///
/// # Errors
/// When a tensor is missing, unknown or misshapen.
pub fn model_from_tensors(
    config: &ModelConfig,
    tensors: BTreeMap<String, Tensor>,
    origin: &Path,
    dtype: DType,
    device: &Device,
) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::from_tensors(tensors, origin.display(), 0, dtype, device);
    let model = GptModern::new(config, parameters.root())?;
    parameters.ensure_all_used()?;
    Ok((model, parameters))
}

/// The special tokens that a folder names: those of `generation_config.json`, else those of `config.json`.
///
/// # Errors
/// When a file is damaged.
pub fn read_special_token_ids(folder: &Path) -> Result<SpecialTokenIds> {
    let mut ends = SpecialTokenIds::default();
    for name in ["generation_config.json", "config.json"] {
        let json = json_file::read_or_null(&folder.join(name))?;
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
