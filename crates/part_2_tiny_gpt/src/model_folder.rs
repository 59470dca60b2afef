//! Model folders in Hugging Face's GPT-2 format ([`gpt2_folder`]), which `transformers` can load
//! and save too.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use attention::BlockConfig;
use candle_core::Device;
use model_io::ensure_model_saved;
use model_io::gpt2_folder::{self, Gpt2Config};
use serde_json::Value;
use tensor_core::{Parameters, json_file};

use crate::{ByteTokenizer, Gpt, GptConfig};

/// Writes `config.json`, `generation_config.json`, `tokenizer.json` and `model.safetensors` into
/// `folder`. Each write is atomic and the weights come last, so a folder with weights is complete.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, config: &GptConfig, parameters: &Parameters) -> Result<()> {
    let is_byte_level = config.vocab_size == ByteTokenizer::VOCAB_SIZE;
    let tokenizer = is_byte_level.then(|| ByteTokenizer.to_json());
    gpt2_folder::save(folder, &gpt2_config(config), tokenizer, parameters)
}

/// Opens a GPT-2 folder. `seed` is the dropout seed of further training.
///
/// # Errors
/// When a file is missing or damaged, the architecture is another one, or a tensor is missing,
/// unknown or of the wrong shape.
pub fn open(folder: &Path, seed: u64, device: &Device) -> Result<(Gpt, Parameters)> {
    let path = folder.join("config.json");
    let config = Gpt2Config::from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} does not describe a model of this part", path.display()))?;
    let mut parameters = gpt2_folder::read_parameters(folder, seed, device)?;
    let gpt = Gpt::new(&gpt_config(&config), parameters.root())?;
    parameters.ensure_all_used()?;
    Ok((gpt, parameters))
}

/// Opens the folder of a byte-level model, or of the run that saved it, for inference.
///
/// # Errors
/// Those of [`open`], and when the model has another tokenizer than [`ByteTokenizer`].
pub fn open_byte_level(folder: &Path, device: &Device) -> Result<Gpt> {
    let in_run = folder.join("model");
    let folder = if in_run.is_dir() { &in_run } else { folder };
    ensure_model_saved(folder)?;
    let (model, parameters) = open(folder, 0, device)?;
    let v = model.config().vocab_size;
    let message = format!("{} has another tokenizer; this part reads bytes", folder.display());
    ensure!(v == ByteTokenizer::VOCAB_SIZE, "{message} (vocabulary {v}, not 256)");
    let path = folder.join("tokenizer.json");
    if path.exists() {
        let json = json_file::read(&path)?;
        let expected = ByteTokenizer.to_json();
        ensure!(json["model"]["vocab"] == expected["model"]["vocab"], "{message}");
    }
    Ok(Gpt::new(model.config(), parameters.for_inference().root())?)
}

/// JSON of the model's `config.json`.
pub fn config_to_json(config: &GptConfig) -> Value {
    gpt2_config(config).to_json()
}

fn gpt2_config(config: &GptConfig) -> Gpt2Config {
    let GptConfig { vocab_size, context_len, block } = *config;
    let BlockConfig { n_layer, n_head, n_embd, dropout, gelu, layer_norm_eps } = block;
    Gpt2Config {
        vocab_size,
        n_positions: context_len,
        n_layer,
        n_head,
        n_embd,
        activation_function: gelu,
        layer_norm_epsilon: layer_norm_eps,
        dropout,
    }
}

fn gpt_config(config: &Gpt2Config) -> GptConfig {
    let Gpt2Config { n_layer, n_head, n_embd, dropout, activation_function: gelu, .. } = *config;
    let layer_norm_eps = config.layer_norm_epsilon;
    let block = BlockConfig { n_layer, n_head, n_embd, dropout, gelu, layer_norm_eps };
    GptConfig { vocab_size: config.vocab_size, context_len: config.n_positions, block }
}
