//! The demo: trains a small model, generates the same text with and without a KV cache, then
//! generates a text far longer than the context through a sliding window.

use std::time::Instant;

use anyhow::{Result, ensure};
use candle_core::DType;
use datasets::builtin_text::BuiltinText;
use experiment::terminal::printable;
use experiment::{Run, RunLog};
use model_io::{ModelConfig, SlidingWindow};
use tensor_core::{Parameters, Rng};
use tiny_gpt::{ByteCorpus, ByteTokenizer, TrainConfig, train};

use super::arguments::DemoArgs;
use crate::generation::generate_uncached;
use crate::sampler::{Sampler, SamplingStrategy};
use crate::{CacheKind, GenerateConfig, GenerationState, GptModern};

const PROMPT: &str = "\nMira saw a red bird";
/// Tokens generated with and without a cache.
const COMPARED_TOKENS: usize = 200;
/// Window of the long text without `--window`.
const WINDOW: SlidingWindow = SlidingWindow { size: 64, sinks: 4 };

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let (steps, seed) = (args.steps.get(), args.compute.seed);
    let mut model_config = ModelConfig::byte_level(256, 2, 4, 128);
    model_config.attention.n_kv_head = 2;
    args.architecture.apply(&mut model_config)?;
    let config = TrainConfig::with_defaults(steps, 4);
    let corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = args.architecture.new_model(&model_config, &mut parameters)?;
    println!(
        "Training a model of {} parameters on {} bytes.\n",
        parameters.n_parameters(),
        corpus.train.len()
    );
    let run = Run::default(); // Ctrl-C ends the demo at once: nothing is saved
    let mut log = RunLog::of_losses(steps)?;
    train(&model, &parameters, &corpus, &config, seed, None, &run, &mut log)?;
    log.finish()?;

    let model = GptModern::new(&model_config, parameters.for_inference().root())?;
    compare_with_and_without_cache(&model, seed)?;
    if model_config.attention.position.is_limited() {
        println!("\nIts positions end with the context, so it cannot write a longer text.");
        return Ok(());
    }
    let window = args.architecture.window.sliding_window().unwrap_or(WINDOW);
    generate_beyond_context(&model, window, args.tokens as usize, seed)
}

/// Generates the same text with and without a cache, and compares the time per token.
fn compare_with_and_without_cache(model: &GptModern, seed: u64) -> Result<()> {
    let (prompt, greedy) = (ByteTokenizer.encode(PROMPT), Sampler::new(SamplingStrategy::Greedy));
    let mut state = GenerationState::new(CacheKind::Full.new_cache(model), prompt.clone());
    let config = GenerateConfig::new(model, greedy, COMPARED_TOKENS, Vec::new());
    let start = Instant::now();
    let cached =
        state.generate(model, &config, &mut [Rng::new(seed)], |_, _| Ok(()))?.remove(0).tokens;
    let with_cache = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let uncached =
        generate_uncached(model, &prompt, COMPARED_TOKENS, &greedy, &mut Rng::new(seed))?;
    let without = start.elapsed().as_secs_f64();
    ensure!(cached == uncached, "the cache changed the text");
    println!("\n{}\n", printable(ByteTokenizer.decode(&cached).trim()));
    println!(
        "{COMPARED_TOKENS} tokens, the same text twice: {:.3} ms per token with a cache of {} KiB, \
         {:.3} ms without: {:.1} times",
        1e3 * with_cache / COMPARED_TOKENS as f64,
        state.cache.size_in_bytes() / 1024,
        1e3 * without / COMPARED_TOKENS as f64,
        without / with_cache
    );
    Ok(())
}

/// Generates a text far longer than the context through a sliding window, in constant memory.
fn generate_beyond_context(
    model: &GptModern,
    window: SlidingWindow,
    n_tokens: usize,
    seed: u64,
) -> Result<()> {
    let strategy =
        SamplingStrategy::Random { temperature: 0.8, top_k: None, top_p: Some(0.95), min_p: None };
    let cache_kind = CacheKind::SlidingWindow(window);
    let config = GenerateConfig::new(model, Sampler::new(strategy), n_tokens, Vec::new());
    let config = GenerateConfig { cache_kind, ..config };
    let mut state = GenerationState::new(cache_kind.new_cache(model), ByteTokenizer.encode(PROMPT));
    let (mut times, mut last) = (Vec::with_capacity(n_tokens), Instant::now());
    let completions = state.generate(model, &config, &mut [Rng::new(seed)], |_, _| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        Ok(())
    })?;
    let mean = |times: &[f64]| 1e3 * times.iter().sum::<f64>() / times.len() as f64;
    let end = ByteTokenizer.decode(&completions[0].tokens[n_tokens - 120..]);
    println!(
        "\n... {}\n\n{n_tokens} tokens through a window of {} and {} sinks (the model's \
         context is {}): {:.3} ms per token at first, {:.3} ms at the end, {} KiB all the way",
        printable(end.trim()),
        window.size,
        window.sinks,
        model.config().context_len,
        mean(&times[100..300]),
        mean(&times[n_tokens - 200..]),
        state.cache.size_in_bytes() / 1024
    );
    Ok(())
}
