//! Model for training, from a model or from an adapter, which is merged into its base model.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::{LoadMode, ModelWeights, find_adapter, locate_model, peft_folder};
use modern::{Checkpoint, GptModern};
use tensor_core::Parameters;

use crate::lora;

/// Opens the model `source` for training, with all its weights trainable; an adapter is merged into
/// its base model.
///
/// # Errors
/// Those of [`Checkpoint::open`].
pub fn open_for_training(source: &str, device: &Device) -> Result<Checkpoint> {
    let path = locate_model(source)?;
    match find_adapter(&path) {
        Some(adapter) => open_merged(&peft_folder::base_model(&adapter)?, &adapter, device),
        None => Checkpoint::open(&path.to_string_lossy(), LoadMode::Training(DType::F32), device),
    }
}

/// Opens the model `base`, dequantized, with the adapter in the folder `adapter` merged into its
/// weights.
///
/// # Errors
/// Those of [`Checkpoint::open_with_adapter`].
pub(crate) fn open_merged(base: &str, adapter: &Path, device: &Device) -> Result<Checkpoint> {
    let mode = LoadMode::Training(DType::F32);
    let checkpoint = Checkpoint::open_with_adapter(base, adapter, mode, device)?;
    let (config, tensors) =
        (*checkpoint.model.config(), lora::merged_weights(&checkpoint.parameters)?);
    let parameters = Parameters::from_tensors(tensors, base, 0, DType::F32, device);
    let (model, parameters) = GptModern::from_weights(ModelWeights { config, parameters })?;
    Ok(Checkpoint { model, parameters, ..checkpoint })
}
