//! The demo: a small model learns to write, then writes the same text with and without a cache, then a text that is far
//! longer than what it remembers.

use std::time::Instant;

use anyhow::{Result, ensure};
use candle_core::DType;
use modern::recompute::generate_by_recomputing;
use modern::sampler::{Choice, Sampler};
use modern::{GenerateConfig, GptModern, Memory, ModelConfig, Text, Window};
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::{ByteCorpus, ByteTokenizer, LrDecay, TrainConfig, TrainLog, train};

use crate::arguments::DemoArgs;

const PROMPT: &str = "\nMira saw a red bird";
/// Tokens that are written with and without a cache.
const SHORT: usize = 200;
/// Tokens that are written through a window.
const LONG: usize = 2_000;

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (steps, seed) = (args.steps.get(), args.compute.seed);
    let mut model_config = ModelConfig::bytes(256, 2, 4, 128);
    model_config.attention.n_kv_head = 2;
    let config = TrainConfig {
        steps,
        batch_size: 4,
        lr: 3e-3,
        lr_decay: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        grad_clip: Some(1.),
        eval_interval: steps,
        sample_interval: 0,
    };
    let corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = GptModern::new(&model_config, parameters.root())?;
    println!(
        "A Llama of {} parameters learns {} bytes.\n",
        parameters.n_parameters(),
        corpus.train.len()
    );
    let mut log = TrainLog::new(steps)?; // Ctrl-C ends the demo at once: it keeps nothing
    train(&model, &parameters, &corpus, &config, seed, &mut log)?;

    let model = GptModern::new(&model_config, parameters.for_inference().root())?;
    write_twice(&model, seed)?;
    write_on_and_on(&model, seed)
}

/// The same text with and without a cache.
fn write_twice(model: &GptModern, seed: u64) -> Result<()> {
    let (prompt, greedy) = (ByteTokenizer.encode(PROMPT), Sampler::new(Choice::Greedy));
    let mut text = Text::new(Memory::Whole.cache(model), prompt.clone());
    let config = GenerateConfig::new(model, greedy, SHORT, Vec::new());
    let start = Instant::now();
    let cached = text.go_on(model, &config, &mut [Rng::new(seed)], |_, _| Ok(()))?.remove(0).tokens;
    let with_cache = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let again = generate_by_recomputing(model, &prompt, SHORT, &greedy, &mut Rng::new(seed))?;
    let without = start.elapsed().as_secs_f64();
    ensure!(cached == again, "the cache changed the text");
    println!("\n{}\n", ByteTokenizer.decode(&cached).trim());
    println!(
        "{SHORT} tokens, the same text twice: {:.3} ms per token with a cache of {} KiB, {:.3} ms without: {:.1} times",
        1e3 * with_cache / SHORT as f64,
        text.cache.bytes() / 1024,
        1e3 * without / SHORT as f64,
        without / with_cache
    );
    Ok(())
}

/// A text far longer than the context, through a window.
fn write_on_and_on(model: &GptModern, seed: u64) -> Result<()> {
    let window = Window { size: 64, sinks: 4 };
    let choice = Choice::Random { temperature: 0.8, top_k: None, top_p: Some(0.95), min_p: None };
    let memory = Memory::Rolling(window);
    let config = GenerateConfig::new(model, Sampler::new(choice), LONG, Vec::new());
    let config = GenerateConfig { memory, ..config };
    let mut text = Text::new(memory.cache(model), ByteTokenizer.encode(PROMPT));
    let (mut times, mut last) = (Vec::with_capacity(LONG), Instant::now());
    let written = text.go_on(model, &config, &mut [Rng::new(seed)], |_, _| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        Ok(())
    })?;
    let mean = |times: &[f64]| 1e3 * times.iter().sum::<f64>() / times.len() as f64;
    let end = ByteTokenizer.decode(&written[0].tokens[LONG - 120..]);
    println!(
        "\n... {}\n\n{LONG} tokens through a window of {} and {} sinks, the model's context being {}: {:.3} ms per token at first, {:.3} ms at the end, {} KiB all the way",
        end.trim(),
        window.size,
        window.sinks,
        model.config().context,
        mean(&times[100..300]),
        mean(&times[LONG - 200..]),
        text.cache.bytes() / 1024
    );
    Ok(())
}
