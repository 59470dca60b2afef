//! 7.2 Where a reward model begins: at a language model, whose output layer gives way to a fresh head.
//!
//! The best beginning is the model that was fine-tuned on the task (Stiennon et al., <https://arxiv.org/abs/2009.01325>): to tell a
//! right answer from a near miss, one must know the answer. So where no model is given, a small one is taught to answer first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::{Checkpoint, GptModern, ModelConfig};
use scaling::Schedule;
use scaling::schedule::Decay;
use sft::base::{self, BaseConfig};
use sft::questions::{Demos, demonstrations};
use sft::{Format, LoraConfig, Outputs, RunLog, Speech, Tuning, lora, tokenize};
use tensor_core::{AdamWConfig, Parameters};

use crate::model_folder::HEAD;
use crate::{Architecture, Normalisation, RewardCheckpoint, RewardModel};

/// Demonstrations of sums that are drawn.
const DEMONSTRATIONS: usize = 200_000;

impl RewardCheckpoint {
    /// The reward model that begins at `checkpoint`, opened for training, its head drawn from `seed`.
    ///
    /// # Errors
    /// When the model lacks what the template's `format` needs, or no token ends its texts.
    pub fn begin(
        mut checkpoint: Checkpoint,
        architecture: Architecture,
        format: Option<Format>,
        seed: u64,
    ) -> Result<Self> {
        let speech = Speech::of(&mut checkpoint, format)?;
        let config = RewardModel::body_config(checkpoint.model.config());
        let mut tensors = tensors_of(&checkpoint.parameters);
        tensors.retain(|name, _| !name.starts_with("lm_head."));
        let device = checkpoint.parameters.device();
        tensors.insert(HEAD.into(), fresh_head(&config, seed, device)?);
        let mut parameters =
            Parameters::from_tensors(tensors, "the language model", seed, DType::F32, device);
        let model = RewardModel::new(&config, architecture, &mut parameters)?;
        parameters.finish()?;
        let (ends, normalisation) = (checkpoint.ends, Normalisation::NONE);
        Ok(Self { model, parameters, speech, ends, normalisation })
    }
}

/// A head as a new [`RewardModel`] has it, (1, C).
fn fresh_head(config: &ModelConfig, seed: u64, device: &Device) -> Result<Tensor> {
    let mut fresh = Parameters::seeded(seed, DType::F32, device);
    RewardModel::head(config.n_embd, &mut fresh)?;
    let head = fresh.get(HEAD).expect("it was just made");
    Ok(head.var.as_detached_tensor())
}

/// The weights of a reward model with fresh adapters beside its layers: they and the head are trained, nothing else.
///
/// # Errors
/// When no layer is chosen.
pub fn with_adapters(
    parameters: &Parameters,
    (config, architecture): (&ModelConfig, Architecture),
    lora: &LoraConfig,
    seed: u64,
) -> Result<Parameters> {
    let (tensors, device) = (tensors_of(parameters), parameters.device());
    let mut adapted =
        Parameters::from_tensors(tensors, "the reward model", seed, DType::F32, device);
    GptModern::new(config, adapted.root())?;
    lora::attach(&mut adapted, lora, seed)?; // freezes what there is, to which the head is yet to come
    RewardModel::new(config, architecture, &mut adapted)?;
    adapted.finish()?;
    Ok(adapted)
}

/// The weights as a model without adapters has them, in memory of their own where there are adapters.
///
/// # Errors
/// When memory is short.
pub fn merged(
    parameters: &Parameters,
    (config, architecture): (&ModelConfig, Architecture),
) -> Result<Parameters> {
    if parameters.adapters().is_empty() {
        return Ok(parameters.computing_in(parameters.dtype()));
    }
    let (dtype, device) = (parameters.dtype(), parameters.device());
    let tensors = lora::merged(parameters)?;
    let mut merged = Parameters::from_tensors(tensors, "the merged model", 0, dtype, device);
    RewardModel::new(config, architecture, &mut merged)?;
    Ok(merged)
}

fn tensors_of(parameters: &Parameters) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect()
}

/// The small model that the run in `out`, a new one, begins with where none is named: of these sizes, shown so many demonstrations. The
/// run keeps it in `base/`.
///
/// # Errors
/// When the sizes do not fit each other, or the run cannot be written.
pub fn small_model_of_run(
    out: &Path,
    (base, steps): (BaseConfig, usize),
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    println!("a small model is pretrained for {} steps and shown sums for {steps}", base.steps);
    let checkpoint = small_model(base, steps, seed, device)?;
    checkpoint.save(&out.join("base"))?;
    Ok(checkpoint)
}

/// A small model that answers sums: pretrained, and then shown how to answer, `steps` times 64 demonstrations.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn small_model(
    base: BaseConfig,
    steps: usize,
    seed: u64,
    device: &Device,
) -> Result<Checkpoint> {
    let mut checkpoint = base::pretrain(base, seed, device)?;
    if steps == 0 {
        return Ok(checkpoint);
    }
    let speech = Speech::of(&mut checkpoint, None)?;
    let config = *checkpoint.model.config();
    let examples = demonstrations(DEMONSTRATIONS.min(64 * steps), Demos::Clean, seed);
    let examples = tokenize(&examples, &speech, config.context)?.examples;
    let usual = sft::TrainConfig::usual(64, steps, 1e-3, seed);
    let train = sft::TrainConfig {
        schedule: Schedule { decay: Decay::Stable, ..usual.schedule },
        optimizer: AdamWConfig { beta2: 0.999, ..usual.optimizer },
        ..usual
    };
    let mut tuning = Tuning::new(config, checkpoint.parameters, train.optimizer)?;
    let mut log = RunLog::new(steps, train.schedule.warmup, 0, steps)?;
    sft::train(&mut tuning, &examples, &train, None, &Outputs::default(), &mut log)?;
    let parameters = tuning.parameters;
    let model = GptModern::new(&config, parameters.inference().root())?;
    Ok(Checkpoint { model, parameters, template: Some(speech.template), ..checkpoint })
}
