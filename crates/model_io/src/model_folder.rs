//! Model folders in Hugging Face's layout, interchangeable with transformers in both directions.
//!
//! Parameters have the same names in memory and in the files ([`TensorNames`]), so loading needs no
//! renaming. GPT-2's matrices are transposed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use serde_json::{Value, json};
use tensor_core::{Parameters, json_file};

use crate::config::LmHead;
pub use crate::model_weights::SpecialTokenIds;
use crate::weight_files::{self, WEIGHTS_FILE, drop_tied_lm_head};
use crate::{GenerationConfig, ModelConfig, ModelWeights, TensorNames, config_json};

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`, the
/// weights last.
///
/// # Errors
/// When the weights are quantized, or a file cannot be written.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    parameters: &Parameters,
    special_ids: &SpecialTokenIds,
    generation: Option<&GenerationConfig>,
) -> Result<()> {
    let json = config_json::to_json(config);
    save_with_config_json(folder, config, json, parameters, special_ids, generation)
}

/// Like [`save`], with `json` as the `config.json`.
///
/// # Errors
/// Those of [`save`].
pub fn save_with_config_json(
    folder: &Path,
    config: &ModelConfig,
    mut json: Value,
    parameters: &Parameters,
    special_ids: &SpecialTokenIds,
    generation: Option<&GenerationConfig>,
) -> Result<()> {
    ensure_unquantized(parameters)?;
    let eos = match special_ids.eos[..] {
        [] => Value::Null,
        [id] => json!(id),
        _ => json!(special_ids.eos),
    };
    let dtype = match parameters.stored_dtype() {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        DType::F64 => "float64",
        _ => "float32",
    };
    (json["bos_token_id"], json["eos_token_id"]) = (json!(special_ids.bos), eos.clone());
    json["dtype"] = json!(dtype);
    let mut generation_json = json!({ "bos_token_id": special_ids.bos, "eos_token_id": eos });
    if let Some(generation) = generation {
        generation.write(&mut generation_json);
    }
    let names = TensorNames::of(config);
    let tensors = parameters.iter().map(|p| {
        let tensor = p.var.as_detached_tensor();
        let tensor = if names.is_transposed(&p.name) { tensor.t()? } else { tensor };
        Ok((p.name.clone(), tensor))
    });
    let files = [("config.json", json), ("generation_config.json", generation_json)];
    weight_files::write(folder, &files, WEIGHTS_FILE, &tensors.collect::<Result<_>>()?)
}

/// Rejects quantized weights, which a model folder cannot store.
///
/// # Errors
/// When some weights are quantized.
pub fn ensure_unquantized(parameters: &Parameters) -> Result<()> {
    ensure!(
        !parameters.is_quantized(),
        "the model's weights are quantized, which a model folder cannot store: \
         open it dequantized, with LoadMode::Training"
    );
    Ok(())
}

/// Opens the configuration and the weights of a model folder, the weights converted to `dtype`.
///
/// # Errors
/// When a file is missing or damaged, or the architecture is not supported.
pub fn open(folder: &Path, dtype: DType, device: &Device) -> Result<ModelWeights> {
    let path = folder.join("config.json");
    let json = json_file::read(&path)?;
    let is_dense = json["model_type"] != "llm_from_scratch" || json["num_local_experts"].is_null();
    ensure!(
        is_dense,
        "{} describes a mixture of experts: open it with `part_5 sample`",
        path.display()
    );
    let config = config_json::from_json(&json)
        .with_context(|| format!("{} does not describe a supported model", path.display()))?;
    let parameters = read_parameters(folder, &config, dtype, device)?;
    Ok(ModelWeights { config, parameters })
}

/// Weights of a folder of `config`'s architecture, converted to `dtype`. With a tied head, a stored
/// LM head is checked and dropped.
///
/// # Errors
/// When a file is missing or damaged.
pub fn read_parameters(
    folder: &Path,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<Parameters> {
    let (origin, names) = (folder.display(), TensorNames::of(config));
    let mut tensors = BTreeMap::new();
    for (name, tensor) in weight_files::read(folder)? {
        let name = names.in_memory(&name);
        if TensorNames::is_buffer(&name) {
            continue;
        }
        let is_transposed = names.is_transposed(&name) && tensor.rank() == 2;
        tensors.insert(name, if is_transposed { tensor.t()? } else { tensor });
    }
    if config.lm_head == LmHead::Tied {
        let TensorNames { model, embed_tokens, lm_head, .. } = names;
        let [head, table] = [format!("{lm_head}.weight"), format!("{model}.{embed_tokens}.weight")];
        drop_tied_lm_head(&mut tensors, &head, &table, &origin)?;
    }
    Ok(Parameters::from_tensors(tensors, origin, 0, dtype, device))
}

/// Special tokens from `generation_config.json`, or else from `config.json`.
///
/// # Errors
/// When a file is damaged.
pub fn read_special_token_ids(folder: &Path) -> Result<SpecialTokenIds> {
    let mut special_ids = SpecialTokenIds::default();
    for name in ["generation_config.json", "config.json"] {
        let json = json_file::read_or_null(&folder.join(name))?;
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        if special_ids.eos.is_empty() {
            special_ids.eos = match &json["eos_token_id"] {
                Value::Array(ids) => ids.iter().filter_map(id).collect(),
                value => id(value).into_iter().collect(),
            };
        }
        special_ids.bos = special_ids.bos.or_else(|| id(&json["bos_token_id"]));
    }
    Ok(special_ids)
}
