//! 7.2 Where a reward model begins: at a language model, whose output layer gives way to a fresh head.
//!
//! The best beginning is the model that was fine-tuned on the task (Stiennon et al., <https://arxiv.org/abs/2009.01325>): to tell a
//! right answer from a near miss, one must know the answer. So where no model is given, a small one is taught to answer first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::{Checkpoint, GptModern, ModelConfig};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::base_model::{self, BaseModelConfig};
use sft::{ChatFormat, ChatTokenizer, LoraConfig, RunOutputs, SftLog, TrainState, lora, tokenize};
use tensor_core::{AdamWConfig, Parameters};

use crate::model_folder::HEAD_WEIGHT;
use crate::{RewardArchitecture, RewardCheckpoint, RewardModel, RewardNormalization};

/// Demonstrations of sums that are drawn.
const DEMONSTRATIONS: usize = 200_000;

impl RewardCheckpoint {
    /// The reward model that begins at `checkpoint`, opened for training, its head drawn from `seed`.
    ///
    /// # Errors
    /// When the model lacks what the template's `format` needs, or no token ends its texts.
    pub fn from_language_model(
        mut checkpoint: Checkpoint,
        architecture: RewardArchitecture,
        format: Option<ChatFormat>,
        seed: u64,
    ) -> Result<Self> {
        let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, format)?;
        let config = RewardModel::backbone_config(checkpoint.model.config());
        let mut tensors = detached_tensors(&checkpoint.parameters);
        tensors.retain(|name, _| !name.starts_with("lm_head."));
        let device = checkpoint.parameters.device();
        tensors.insert(HEAD_WEIGHT.into(), fresh_head(&config, seed, device)?);
        let mut parameters =
            Parameters::from_tensors(tensors, "the language model", seed, DType::F32, device);
        let model = RewardModel::new(&config, architecture, &mut parameters)?;
        parameters.ensure_all_used()?;
        let (ends, normalisation) = (checkpoint.special_ids, RewardNormalization::NONE);
        Ok(Self {
            model,
            parameters,
            chat_tokenizer: speech,
            special_ids: ends,
            normalization: normalisation,
        })
    }
}

/// A head as a new [`RewardModel`] has it, (1, C).
fn fresh_head(config: &ModelConfig, seed: u64, device: &Device) -> Result<Tensor> {
    let mut fresh = Parameters::seeded(seed, DType::F32, device);
    RewardModel::new_head(config.n_embd, &mut fresh)?;
    let head = fresh.get(HEAD_WEIGHT).expect("it was just made");
    Ok(head.var.as_detached_tensor())
}

/// The weights of a reward model with fresh adapters beside its layers: they and the head are trained, nothing else.
///
/// # Errors
/// When no layer is chosen.
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
    lora::attach(&mut adapted, lora, seed)?; // freezes what there is, to which the head is yet to come
    RewardModel::new(config, architecture, &mut adapted)?;
    adapted.ensure_all_used()?;
    Ok(adapted)
}

/// The weights as a model without adapters has them, in memory of their own where there are adapters.
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

/// The small model that the run in `out`, a new one, begins with where none is named: of these sizes, shown so many demonstrations. The
/// run keeps it in `base/`.
///
/// # Errors
/// When the sizes do not fit each other, or the run cannot be written.
pub fn train_and_save_base_model(
    out: &Path,
    (base, steps): (BaseModelConfig, usize),
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    println!("a small model is pretrained for {} steps and shown sums for {steps}", base.steps);
    let checkpoint = train_base_model(base, steps, seed, device)?;
    checkpoint.save(&out.join("base"))?;
    Ok(checkpoint)
}

/// A small model that answers sums: pretrained, and then shown how to answer, `steps` times 64 demonstrations.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn train_base_model(
    base: BaseModelConfig,
    steps: usize,
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    let mut checkpoint = base_model::pretrain(base, seed, device)?;
    if steps == 0 {
        return Ok(checkpoint);
    }
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let examples = demonstrations(DEMONSTRATIONS.min(64 * steps), DemonstrationStyle::Clean, seed);
    let examples = tokenize(&examples, &speech, config.context_len)?.examples;
    let usual = sft::TrainConfig::with_defaults(64, steps, 1e-3, seed);
    let train = sft::TrainConfig {
        schedule: LrSchedule { decay: DecayShape::WarmupStableDecay, ..usual.schedule },
        optimizer: AdamWConfig { beta2: 0.999, ..usual.optimizer },
        ..usual
    };
    let mut tuning = TrainState::new(config, checkpoint.parameters, train.optimizer)?;
    let mut log = SftLog::new(steps, train.schedule.warmup_steps, 0, steps)?;
    sft::train(&mut tuning, &examples, &train, None, &RunOutputs::default(), &mut log)?;
    let parameters = tuning.parameters;
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    Ok(Checkpoint { model, parameters, chat_template: Some(speech.template), ..checkpoint })
}
