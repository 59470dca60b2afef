//! 7.2 Initialization: a language model whose output layer is replaced by a fresh reward head.
//!
//! The best initial model is one fine-tuned on the task (Stiennon et al.,
//! <https://arxiv.org/abs/2009.01325>): telling a right answer from a near miss requires knowing
//! the answer. Without `--model`, a small model is therefore pretrained and fine-tuned first.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::{LoraConfig, ModelConfig, TensorNames};
use modern::{Checkpoint, GptModern};
use sft::{ChatFormat, ChatTokenizer, lora};
use tensor_core::Parameters;

use crate::model_folder::HEAD_WEIGHT;
use crate::{RewardArchitecture, RewardCheckpoint, RewardModel, RewardNormalization};

impl RewardCheckpoint {
    /// Reward model initialized from `checkpoint` (opened for training), with a reward head sampled
    /// with `seed`.
    ///
    /// # Errors
    /// When the model lacks tokens that `format` needs, or has no EOS token.
    pub fn from_language_model(
        mut checkpoint: Checkpoint,
        architecture: RewardArchitecture,
        format: Option<ChatFormat>,
        seed: u64,
    ) -> Result<Self> {
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, format)?;
        let config = RewardModel::backbone_config(checkpoint.model.config());
        let mut tensors = detached_tensors(&checkpoint.parameters);
        let lm_head = format!("{}.", TensorNames::of(&config).lm_head);
        tensors.retain(|name, _| !name.starts_with(&lm_head));
        let device = checkpoint.parameters.device();
        tensors.insert(HEAD_WEIGHT.into(), fresh_head(&config, seed, device)?);
        let mut parameters =
            Parameters::from_tensors(tensors, "the language model", seed, DType::F32, device);
        let model = RewardModel::new(&config, architecture, &mut parameters)?;
        parameters.ensure_all_used()?;
        Ok(Self {
            model,
            parameters,
            chat_tokenizer,
            special_ids: checkpoint.special_ids,
            normalization: RewardNormalization::NONE,
        })
    }
}

/// Weight of the reward head of a new [`RewardModel`], (1, C).
fn fresh_head(config: &ModelConfig, seed: u64, device: &Device) -> Result<Tensor> {
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    RewardModel::new_head(config.embedding_width(), &mut parameters)?;
    let head = parameters.get(HEAD_WEIGHT).expect("new_head creates this weight");
    Ok(head.var.as_detached_tensor())
}

/// Weights of a reward model with new LoRA adapters. Only the adapters and the reward head are
/// trainable.
///
/// # Errors
/// When `lora` selects no layer.
pub fn attach_lora(
    parameters: &Parameters,
    config: &ModelConfig,
    architecture: RewardArchitecture,
    lora: &LoraConfig,
    seed: u64,
) -> Result<Parameters> {
    let (tensors, device) = (detached_tensors(parameters), parameters.device());
    let mut adapted =
        Parameters::from_tensors(tensors, "the reward model", seed, DType::F32, device);
    GptModern::new(config, adapted.root())?;
    // Freezes all weights so far. The reward head comes after it and stays trainable.
    lora::attach(&mut adapted, lora, seed)?;
    RewardModel::new(config, architecture, &mut adapted)?;
    adapted.ensure_all_used()?;
    Ok(adapted)
}

/// Weights with the adapters merged in. With adapters they are new tensors; without adapters they
/// share memory with `parameters`.
///
/// # Errors
/// When memory is short.
pub fn merged_weights(
    parameters: &Parameters,
    config: &ModelConfig,
    architecture: RewardArchitecture,
) -> Result<Parameters> {
    if parameters.adapters().is_empty() {
        return Ok(parameters.with_compute_dtype(parameters.compute_dtype()));
    }
    let (dtype, device) = (parameters.stored_dtype(), parameters.device());
    let tensors = lora::merged_weights(parameters)?;
    let mut merged = Parameters::from_tensors(tensors, "the merged model", 0, dtype, device);
    RewardModel::new(config, architecture, &mut merged)?;
    Ok(merged)
}

fn detached_tensors(parameters: &Parameters) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect()
}
