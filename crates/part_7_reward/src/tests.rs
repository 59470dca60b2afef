//! Tests of part 7, section by section.

mod trl_names;
mod data;
mod built_in;
mod truncation;
mod model;
mod folder;
mod losses;
mod metrics;
mod annotation_file;
mod validator;
mod ranks;
mod devices;
mod training;
mod steps;
mod precision;

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::model_folder::SpecialTokenIds;
use model_io::{ModelConfig, Tokenizer};
use modern::{Checkpoint, GptModern};
use sft::{ChatFormat, ChatTokenizer, ModelSaver, bpe_tokenizer};
use tensor_core::Parameters;

use crate::{RewardArchitecture, RewardModel};

const CPU: Device = Device::Cpu;
const BOTH: [RewardArchitecture; 2] =
    [RewardArchitecture::CausalLastToken, RewardArchitecture::BidirectionalMean];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Tokenizer trained on a few English words and digits.
fn tokenizer() -> Result<Tokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    bpe_tokenizer::train_bpe([text; 4].into_iter(), 400)
}

/// Chat tokenizer with the instruction template.
fn chat_tokenizer() -> Result<ChatTokenizer> {
    let tokenizer = tokenizer()?;
    let template = sft::template::chat_template(ChatFormat::Instruction, &tokenizer, None)?;
    let eos = tokenizer.eos().expect("the tokenizer has EOS");
    ChatTokenizer::new(tokenizer, template, vec![eos])
}

fn config(context_len: usize) -> ModelConfig {
    ModelConfig { vocab_size: 400, ..ModelConfig::byte_level(context_len, 2, 2, 16) }
}

/// Reward model with large random weights.
fn model(architecture: RewardArchitecture, seed: u64) -> Result<(RewardModel, Parameters)> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    let model = RewardModel::new(&config(64), architecture, &mut parameters)?;
    scale_weights(&parameters)?;
    Ok((model, parameters))
}

/// Multiplies all weights by 8, so that an unwanted influence on the reward becomes measurable.
fn scale_weights(parameters: &Parameters) -> Result<()> {
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 8.)?)?;
    }
    Ok(())
}

/// Language model with random weights, and its tokenizer.
fn checkpoint(seed: u64) -> Result<Checkpoint> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    let model = GptModern::new(&config(64), parameters.root())?;
    let tokenizer = tokenizer()?;
    let special_ids = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    Ok(Checkpoint { model, parameters, tokenizer, special_ids, sampler: None, chat_template: None })
}

/// Saver into `folder` of a model with this `config` and the tokenizer of [`chat_tokenizer`].
fn model_saver(folder: &Path, config: ModelConfig) -> Result<ModelSaver> {
    Ok(ModelSaver {
        folder: folder.to_path_buf(),
        config,
        chat_tokenizer: chat_tokenizer()?,
        special_ids: SpecialTokenIds::default(),
        sampler: None,
        lora: None,
        base: String::new(),
    })
}
