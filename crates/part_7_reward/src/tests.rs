//! What this part claims, section by section.

mod data;
mod built_in;
mod truncation;
mod model;
mod folder;
mod losses;
mod metrics;
mod collection;
mod exam;
mod training;
mod steps;

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use modern::model_folder::SpecialTokenIds;
use modern::{Checkpoint, GptModern, ModelConfig, Tokenizer};
use sft::{ChatFormat, ChatTokenizer, word_tokenizer};
use tensor_core::Parameters;

use crate::{RewardArchitecture, RewardModel};

const CPU: Device = Device::Cpu;
const BOTH: [RewardArchitecture; 2] = [RewardArchitecture::Causal, RewardArchitecture::Encoder];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A tokenizer of English letters and digits.
fn tokenizer() -> Result<Tokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    word_tokenizer::train([text; 4].into_iter(), 400)
}

/// How a model of this tokenizer is spoken to.
fn speech() -> Result<ChatTokenizer> {
    let tokenizer = tokenizer()?;
    let template = sft::template::chat_template(ChatFormat::Instruction, &tokenizer, None)?;
    let end = tokenizer.eos().expect("an end");
    ChatTokenizer::new(tokenizer, template, vec![end])
}

fn config(context: usize) -> ModelConfig {
    ModelConfig { vocab_size: 400, ..ModelConfig::byte_level(context, 2, 2, 16) }
}

/// A random reward model.
fn model(architecture: RewardArchitecture, seed: u64) -> Result<(RewardModel, Parameters)> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    let model = RewardModel::new(&config(64), architecture, &mut parameters)?;
    enlarge(&parameters)?;
    Ok((model, parameters))
}

/// Weights larger than at birth, so that what should not matter would show.
fn enlarge(parameters: &Parameters) -> Result<()> {
    for parameter in parameters.iter() {
        parameter.var.set(&(parameter.var.as_detached_tensor() * 8.)?)?;
    }
    Ok(())
}

/// A random language model with all that belongs to it.
fn checkpoint(seed: u64) -> Result<Checkpoint> {
    let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
    let model = GptModern::new(&config(64), parameters.root())?;
    let tokenizer = tokenizer()?;
    let ends = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    Ok(Checkpoint {
        model,
        parameters,
        tokenizer,
        special_ids: ends,
        sampler: None,
        chat_template: None,
    })
}
