//! What this part claims, section by section.

mod tabular_dpo;
mod losses;
mod data;
mod ref_cache;
mod step;
mod validator;
mod ranks;
mod devices;
mod sampled;
mod distillation;
mod best_of_n;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use experiment::TrainState;
use model_io::ModelConfig;
use modern::{FinishReason, GptModern};
use ppo::SampledCompletion;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use serde_json::Value;
use sft::{ChatFormat, ChatTokenizer, bpe_tokenizer};
use tensor_core::{AdamWConfig, Parameters, json_file};

use crate::losses::{DpoLoss, LossType};
use crate::preference_example::{Label, PreferenceExample};
use crate::step::{DpoPolicy, TrainConfig};

const CPU: Device = Device::Cpu;
const KTO: LossType = LossType::Kto { desirable_weight: 1.3, undesirable_weight: 0.7 };

/// Every loss, with an SFT term.
fn all_losses() -> Vec<DpoLoss> {
    let types = [
        LossType::Sigmoid { label_smoothing: 0. },
        LossType::Sigmoid { label_smoothing: 0.1 },
        LossType::Robust { label_smoothing: 0.1 },
        LossType::SigmoidNorm,
        LossType::Ipo,
        LossType::Hinge,
        KTO,
        LossType::Orpo,
        LossType::Simpo { gamma: 0.5 },
        LossType::Sft,
    ];
    types.map(|loss_type| DpoLoss { loss_type, beta: 0.5, sft_weight: 0.2 }).to_vec()
}

fn golden(name: &str) -> Result<Value> {
    json_file::read(&golden_path(&format!("tests/golden/{name}")))
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn numbers(value: &Value) -> Result<Vec<f64>> {
    serde_json::from_value(value.clone()).context("a list of numbers")
}

/// Chat tokenizer with the instruction template, trained on a few words and digits.
fn chat_tokenizer() -> Result<ChatTokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    let tokenizer = bpe_tokenizer::train_bpe([text; 4].into_iter(), 300)?;
    let template = sft::template::chat_template(ChatFormat::Instruction, &tokenizer, None)?;
    let eos = tokenizer.eos().expect("the tokenizer has EOS");
    ChatTokenizer::new(tokenizer, template, vec![eos])
}

fn parameters(seed: u64) -> Result<Parameters> {
    parameters_of(DType::F32, seed)
}

/// Weights of a model of 12 tokens, large ones, so that it is sure of something.
fn parameters_of(dtype: DType, seed: u64) -> Result<Parameters> {
    parameters_on(&CPU, dtype, seed)
}

fn parameters_on(device: &Device, dtype: DType, seed: u64) -> Result<Parameters> {
    let mut parameters = Parameters::seeded(seed, dtype, device);
    GptModern::new(&config(), parameters.root())?;
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 6.)?)?;
    }
    Ok(parameters)
}

fn config() -> ModelConfig {
    let init_std = ModelConfig::GPT2_INIT_STD;
    ModelConfig { vocab_size: 12, init_std, ..ModelConfig::byte_level(24, 2, 2, 16) }
}

fn policy(seed: u64) -> Result<DpoPolicy> {
    policy_of(parameters(seed)?)
}

fn policy_of(parameters: Parameters) -> Result<DpoPolicy> {
    DpoPolicy::new(&config(), TrainState::new(parameters, AdamWConfig::default())?)
}

fn completion(tokens: &[u32]) -> SampledCompletion {
    SampledCompletion {
        tokens: tokens.to_vec(),
        log_probs: Vec::new(),
        allowed_tokens: Vec::new(),
        finish_reason: FinishReason::Stop,
    }
}

/// Pair of completions.
fn pair(prompt: &[u32], chosen: &[u32], rejected: &[u32]) -> PreferenceExample {
    let completions =
        vec![(Label::Chosen, completion(chosen)), (Label::Rejected, completion(rejected))];
    PreferenceExample::new(prompt.to_vec(), completions)
}

/// Pairs of prompts and completions of different lengths; 0 is EOS.
fn pairs() -> Vec<PreferenceExample> {
    vec![
        pair(&[1, 2], &[3, 4, 0], &[5, 0]),
        pair(&[6], &[7, 0], &[8, 9, 10, 11, 3, 0]),
        pair(&[2, 3, 4, 5, 6], &[1, 0], &[2, 0]),
        pair(&[9, 9], &[4, 8, 1, 2, 0], &[4, 8, 0]),
        pair(&[3, 1], &[6, 0], &[7, 0]),
    ]
}

fn train_config(loss: DpoLoss, lr: f64, steps: usize) -> TrainConfig {
    TrainConfig {
        batch_size: 2,
        grad_accum_steps: 1,
        loss,
        schedule: LrSchedule {
            peak_lr: lr,
            min_lr: lr,
            warmup_steps: 0,
            total_steps: steps,
            decay: DecayShape::Constant,
        },
        optimizer: AdamWConfig { weight_decay: 0., ..AdamWConfig::default() }.into(),
        max_grad_norm: 1.,
        seed: 1,
    }
}
