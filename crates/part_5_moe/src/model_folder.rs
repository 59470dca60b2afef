//! Model folders: `MixtralForCausalLM` where transformers has the architecture. Its files store the
//! matrices of each expert separately, under the same names as here, although transformers stacks
//! them in memory.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use model_io::SpecialTokenIds;
use model_io::model_folder::{read_parameters, save_with_config_json};
use tensor_core::{Parameters, json_file};

use crate::config::MoeConfig;
use crate::config_json;
use crate::model::{GptMoe, is_selection_bias};

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `folder`, the
/// weights last.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    config: &MoeConfig,
    parameters: &Parameters,
    special_ids: &SpecialTokenIds,
) -> Result<()> {
    save_with_config_json(folder, config_json::to_json(config), parameters, special_ids, None)
}

/// Opens a folder and converts the weights to `dtype`.
///
/// # Errors
/// When a file is missing or damaged, the architecture is another one, or a tensor is missing,
/// unknown or of the wrong shape.
pub fn open(folder: &Path, dtype: DType, device: &Device) -> Result<(GptMoe, Parameters)> {
    let path = folder.join("config.json");
    let config = config_json::from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} does not describe a model of this part", path.display()))?;
    let mut parameters = read_parameters(folder, config.model.lm_head, dtype, device)?;
    let model = GptMoe::new(&config, parameters.root())?;
    parameters.ensure_all_used()?;
    parameters.freeze(is_selection_bias);
    Ok((model, parameters))
}
