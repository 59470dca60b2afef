//! Tests of part 6, section by section.

mod trl_names;
mod data;
mod run_split;
mod base_model;
mod template;
mod mask;
mod reply;
mod conversation;
mod packing;
mod curriculum;
mod metrics;
mod evaluation;
mod lora;
mod peft;
mod training;
mod precision;
mod ranks;
mod devices;

use anyhow::Result;
use candle_core::{DType, Device};
use datasets::Example;
use model_io::model_folder::SpecialTokenIds;
use model_io::{ModelConfig, Tokenizer};
use modern::{Checkpoint, GptModern};
use tensor_core::Parameters;

use crate::{ChatFormat, ChatTokenizer, TokenizedExample, bpe_tokenizer};

const CPU: Device = Device::Cpu;

/// Tokenizer of English letters and digits.
fn tokenizer() -> Result<Tokenizer> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    bpe_tokenizer::train_bpe([text; 4].into_iter(), 400)
}

/// Chat tokenizer of this format.
fn chat_tokenizer(format: ChatFormat) -> Result<ChatTokenizer> {
    let tokenizer = tokenizer()?;
    let template = crate::template::chat_template(format, &tokenizer, None)?;
    let eos = tokenizer.eos().expect("an EOS token");
    ChatTokenizer::new(tokenizer, template, vec![eos])
}

/// Tokens of an example with one turn of the assistant.
fn tokens_of(example: &Example, chat_tokenizer: &ChatTokenizer) -> Result<TokenizedExample> {
    let mut examples = TokenizedExample::from_example(example, chat_tokenizer)?;
    assert_eq!(examples.len(), 1);
    Ok(examples.remove(0))
}

fn config(context_len: usize) -> ModelConfig {
    let init_std = ModelConfig::GPT2_INIT_STD;
    ModelConfig { vocab_size: 400, init_std, ..ModelConfig::byte_level(context_len, 2, 2, 16) }
}

/// Random model.
fn model(config: &ModelConfig, seed: u64) -> Result<(GptModern, Parameters)> {
    model_with_dtype(DType::F32, config, seed)
}

fn model_with_dtype(
    dtype: DType,
    config: &ModelConfig,
    seed: u64,
) -> Result<(GptModern, Parameters)> {
    let mut parameters = Parameters::seeded(seed, dtype, &CPU);
    let model = GptModern::new(config, parameters.root())?;
    for parameter in parameters.iter() {
        // Larger than the initial weights, so that any leak would show.
        parameter.var.set(&(parameter.var.as_detached_tensor() * 8.)?)?;
    }
    Ok((model, parameters))
}

/// Random model as a checkpoint.
fn checkpoint(seed: u64) -> Result<Checkpoint> {
    let (model, parameters) = model(&config(64), seed)?;
    let tokenizer = tokenizer()?;
    let special_ids = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    Ok(Checkpoint { model, parameters, tokenizer, special_ids, sampler: None, chat_template: None })
}
