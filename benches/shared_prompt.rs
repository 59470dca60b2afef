//! What a group's shared prompt saves: 32 prompts of 14 tokens, 16 completions of 4 to each, in the model of the arithmetic task.
//! Usage: cargo bench -p benches --bench shared_prompt
//!
//! Both ways compute the same, in turns in one process; what counts is the ratio. A rollout is timed as a whole, an update as a
//! forward and a backward pass over all that was drawn.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{GptModern, ModelConfig};
use ppo::log_probs::log_probs;
use ppo::{RolloutConfig, RolloutGroup, TokenBatch, rollout};
use tensor_core::allocator::keep_freed_memory;
use tensor_core::{Parameters, Rng, backward};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

const PROMPTS: usize = 32;
const SAMPLES: usize = 16;
const PROMPT: usize = 14;
const NEW: usize = 4;

fn main() -> Result<()> {
    keep_freed_memory();
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 15 };
    let config = ModelConfig { vocab_size: 1024, ..ModelConfig::byte_level(128, 2, 4, 128) };
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    let policy = GptModern::new(&config, parameters.root())?;
    let twin = GptModern::new(&config, parameters.for_inference().root())?;
    let prompts: Vec<Vec<u32>> = (0..PROMPTS)
        .map(|i| (0..PROMPT).map(|t| ((i * 31 + t * 7) % 1000) as u32).collect())
        .collect();
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let config = |samples| RolloutConfig {
        group_size: samples,
        sampler,
        max_new_tokens: NEW,
        stop_token_ids: vec![1023],
    };
    let repeated: Vec<Vec<u32>> =
        prompts.iter().flat_map(|prompt| vec![prompt.clone(); SAMPLES]).collect();

    let draw = |prompts: &[Vec<u32>], samples| -> Result<()> {
        rollout(&twin, prompts, &config(samples), &mut Rng::new(3))?;
        Ok(())
    };
    let shared = rollout(&twin, &prompts, &config(SAMPLES), &mut Rng::new(3))?;
    let alone = |group: &RolloutGroup| -> Vec<RolloutGroup> {
        let of = |one: &ppo::SampledCompletion| RolloutGroup {
            prompt: group.prompt.clone(),
            completions: vec![one.clone()],
        };
        group.completions.iter().map(of).collect()
    };
    let apart: Vec<RolloutGroup> = shared.iter().flat_map(alone).collect();
    let learn = |groups: &[RolloutGroup]| -> Result<()> {
        let batch = TokenBatch::from_groups(groups, policy.config(), policy.device())?;
        backward(&log_probs(&policy, &batch, 1.)?.sum_all()?)?;
        Ok(())
    };
    type Work<'a> = &'a dyn Fn() -> Result<()>;
    let rows: [(&str, Work<'_>, Work<'_>); 2] = [
        ("rollout", &|| draw(&prompts, SAMPLES), &|| draw(&repeated, 1)),
        ("update", &|| learn(&shared), &|| learn(&apart)),
    ];
    println!(
        "| {PROMPTS} prompts of {PROMPT}, {SAMPLES} completions of {NEW} | once | {SAMPLES} times | median ratio of a pair |"
    );
    println!("| --- | --- | --- | --- |");
    for (name, once, every) in rows {
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            pairs.push((timed(once)?, timed(every)?));
        }
        let once = median(pairs.iter().map(|(once, _)| *once).collect());
        let every = median(pairs.iter().map(|(_, every)| *every).collect());
        let ratio = median(pairs.iter().map(|(once, every)| every / once).collect());
        println!("| {name} | {once:.1} ms | {every:.1} ms | {ratio:.2} |");
    }
    Ok(())
}

/// Milliseconds that `work` takes.
fn timed(work: &dyn Fn() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
