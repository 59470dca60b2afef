//! Part 2: a model with random weights learns to write little stories, byte by byte.

use std::path::Path;

use anyhow::Result;
use attention::picture::attention_grid;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tensor_core::{AdamWConfig, Parameters};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::{
    ByteTokenizer, Corpus, Gpt, GptConfig, LrDecay, RunLog, Sampling, TrainConfig, model_folder,
    train,
};

/// Longest text the models of this course see.
pub(crate) const BLOCK_SIZE: usize = 64;

/// What the models learn from.
pub(crate) fn corpus() -> Corpus {
    Corpus::from_bytes(BuiltinText::English.text().as_bytes())
}

/// How they learn.
pub(crate) fn config(steps: usize) -> TrainConfig {
    TrainConfig {
        steps,
        batch_size: 16,
        lr: 3e-3,
        lr_decay: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() }, // small batches are noisy
        grad_clip: Some(1.),
        eval_interval: steps.div_ceil(5),
        sample_interval: steps.div_ceil(2),
    }
}

/// Trains on the built-in English text and keeps everything in `folder`.
pub(crate) fn run(folder: &Path, steps: usize, seed: u64, device: &Device) -> Result<()> {
    let (corpus, config) = (corpus(), config(steps));
    let gpt_config = GptConfig::bytes(BLOCK_SIZE, 4, 4, 128);
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    let model = Gpt::new(&gpt_config, parameters.root())?;
    println!(
        "{} parameters, {} bytes of little stories to learn from, {} held out",
        parameters.count(),
        corpus.train.len(),
        corpus.validation.len()
    );
    let settings =
        json!({ "seed": seed, "model": model_folder::to_json(&gpt_config), "train": config });
    let mut log = RunLog::new(steps)?
        .sampling(Sampling::new(0.8, None, Some(0.95)), 240)
        .record(folder, &settings)?
        .stop_on_ctrl_c()?;
    let best = train(&model, &parameters, &corpus, &config, seed, &mut log)?;
    println!(
        "\nvalidation loss {:.3} nats = {:.3} bits per byte (knowing nothing: 8), {:.0} tokens/s",
        best.loss,
        best.bits_per_byte,
        log.tokens_per_second()
    );
    let inference = Gpt::new(&gpt_config, parameters.inference().root())?;
    draw_heads(&folder.join("trained.png"), &inference, "\nMira saw a red bird")
}

/// Draws what the heads of the second block attend to in `text`.
fn draw_heads(path: &Path, model: &Gpt, text: &str) -> Result<()> {
    let ids = Tensor::new(ByteTokenizer.encode(text), model.device())?.unsqueeze(0)?; // (1, T)
    let maps = model.attention_weights(&ids)?[1].squeeze(0)?; // (H, T, T)
    let letters: Vec<String> = text.chars().map(String::from).collect();
    let labels: Vec<&str> = letters.iter().map(String::as_str).collect();
    let titles = ["block 2, head 1", "block 2, head 2", "block 2, head 3", "block 2, head 4"];
    attention_grid(path, &maps, &titles, &labels)
}
