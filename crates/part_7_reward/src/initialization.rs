//! 7.2 Initialization: a language model whose output layer is replaced by a fresh reward head.
//!
//! The best initial model is one fine-tuned on the task (Stiennon et al.,
//! <https://arxiv.org/abs/2009.01325>): telling a right answer from a near miss requires knowing
//! the answer. Without `--model`, a small model is therefore pretrained and fine-tuned first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::{LoraConfig, ModelConfig};
use modern::{Checkpoint, GptModern};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::base_model::{self, BaseModelConfig};
use sft::{ChatFormat, ChatTokenizer, RunOutputs, SftLog, TrainState, lora, tokenize};
use tensor_core::{AdamWConfig, Parameters};

use crate::model_folder::HEAD_WEIGHT;
use crate::{RewardArchitecture, RewardCheckpoint, RewardModel, RewardNormalization};

/// Largest number of distinct demonstrations for fine-tuning the small model.
const MAX_DEMONSTRATIONS: usize = 200_000;

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
        tensors.retain(|name, _| !name.starts_with("lm_head."));
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
    RewardModel::new_head(config.n_embd, &mut parameters)?;
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
    (config, architecture): (&ModelConfig, RewardArchitecture),
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
    (config, architecture): (&ModelConfig, RewardArchitecture),
) -> Result<Parameters> {
    if parameters.adapters().is_empty() {
        return Ok(parameters.with_compute_dtype(parameters.dtype()));
    }
    let (dtype, device) = (parameters.dtype(), parameters.device());
    let tensors = lora::merged_weights(parameters)?;
    let mut merged = Parameters::from_tensors(tensors, "the merged model", 0, dtype, device);
    RewardModel::new(config, architecture, &mut merged)?;
    Ok(merged)
}

fn detached_tensors(parameters: &Parameters) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect()
}

/// Trains the small initial model of a new run without `--model` and saves it to `base/` in the run
/// folder `out`. `sft_steps` is the number of fine-tuning steps.
///
/// # Errors
/// When the model sizes are inconsistent, or the run folder cannot be written.
pub fn train_and_save_base_model(
    out: &Path,
    (base, sft_steps): (BaseModelConfig, usize),
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    println!(
        "training a small base model: {} steps of pretraining, {sft_steps} steps of fine-tuning on \
         sums",
        base.steps
    );
    let checkpoint = train_base_model(base, sft_steps, seed, device)?;
    checkpoint.save(&out.join("base"))?;
    Ok(checkpoint)
}

/// Small model that answers sums: pretrained, then fine-tuned for `sft_steps` batches of 64
/// demonstrations.
///
/// # Errors
/// When the model sizes are inconsistent.
pub fn train_base_model(
    base: BaseModelConfig,
    sft_steps: usize,
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    let mut checkpoint = base_model::pretrain(base, seed, device)?;
    if sft_steps == 0 {
        return Ok(checkpoint);
    }
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let n_examples = MAX_DEMONSTRATIONS.min(64 * sft_steps);
    let examples = demonstrations(n_examples, DemonstrationStyle::Clean, seed);
    let examples = tokenize(&examples, &chat_tokenizer, config.context_len)?.examples;
    let defaults = sft::TrainConfig::with_defaults(64, sft_steps, 1e-3, seed);
    let train_config = sft::TrainConfig {
        schedule: LrSchedule { decay: DecayShape::WarmupStableDecay, ..defaults.schedule },
        optimizer: AdamWConfig { beta2: 0.999, ..defaults.optimizer },
        ..defaults
    };
    let mut train_state = TrainState::new(config, checkpoint.parameters, train_config.optimizer)?;
    let warmup_steps = train_config.schedule.warmup_steps;
    let mut log = SftLog::new(sft_steps, warmup_steps, 0, sft_steps)?;
    let outputs = RunOutputs::default();
    sft::train(&mut train_state, &examples, &train_config, None, &outputs, &mut log)?;
    let parameters = train_state.parameters;
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    let chat_template = Some(chat_tokenizer.template);
    Ok(Checkpoint { model, parameters, chat_template, ..checkpoint })
}
