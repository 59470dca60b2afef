//! Part 3: the same stories, the same budget, a modern model; then a story longer than any it has seen.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use modern::sampler::{Choice, Sampler};
use modern::{GenerateConfig, GptModern, Memory, ModelConfig, Window, config_json, generate};
use serde_json::json;
use tensor_core::{Parameters, Rng};
use tiny_gpt::{ByteTokenizer, RunLog, train};

use crate::pretraining;

/// Bytes of the story at the end: many times the model's context.
const STORY: usize = 600;

/// Trains as part 2 did, and keeps everything in `folder`.
pub(crate) fn run(folder: &Path, steps: usize, seed: u64, device: &Device) -> Result<()> {
    let (corpus, config) = (pretraining::corpus(), pretraining::config(steps));
    let mut model_config = ModelConfig::bytes(pretraining::BLOCK_SIZE, 4, 4, 128);
    model_config.attention.n_kv_head = 2;
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    let model = GptModern::new(&model_config, parameters.root())?;
    println!(
        "{} parameters: RMSNorm, RoPE, SwiGLU, 4 query heads on 2 key heads",
        parameters.count()
    );
    let settings =
        json!({ "seed": seed, "model": config_json::to_json(&model_config), "train": config });
    let mut log = RunLog::new(steps)?.record(folder, &settings)?.stop_on_ctrl_c()?;
    let best = train(&model, &parameters, &corpus, &config, seed, &mut log)?;
    println!(
        "\nvalidation loss {:.3} nats = {:.3} bits per byte, {:.0} tokens/s",
        best.loss,
        best.bits_per_byte,
        log.tokens_per_second()
    );
    let model = GptModern::new(&model_config, parameters.inference().root())?;
    tell(&model, seed)
}

/// Writes a story through a window as long as the context: fixed memory, no end in sight.
fn tell(model: &GptModern, seed: u64) -> Result<()> {
    let choice = Choice::Random { temperature: 0.8, top_k: None, top_p: Some(0.95), min_p: None };
    let memory = Memory::Rolling(Window { size: model.config().context - 4, sinks: 4 });
    let config = GenerateConfig {
        memory,
        ..GenerateConfig::new(model, Sampler::new(choice), STORY, Vec::new())
    };
    let (prompt, start) = (ByteTokenizer.encode("\nMira saw a red bird"), Instant::now());
    let written = generate(
        model,
        std::slice::from_ref(&prompt),
        &config,
        &mut Rng::new(seed),
        |_, _| Ok(()),
    )?;
    let seconds = start.elapsed().as_secs_f64();
    let story = ByteTokenizer.decode(&[prompt, written[0].tokens.clone()].concat());
    println!(
        "\n{}\n\n{STORY} bytes in {:.0} ms, through a rolling cache",
        story.trim(),
        1e3 * seconds
    );
    Ok(())
}
