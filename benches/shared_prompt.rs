//! Speedup from computing the prompt of a group once: 32 prompts of 14 tokens, 16 completions of 4
//! tokens each, with the model of the arithmetic task.
//!
//!     cargo bench -p benches --bench shared_prompt
//!
//! Both ways compute the same and alternate in one process, so the ratio is the result. The rollout
//! is timed as a whole; the update is a forward and a backward pass over all completions.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::ModelConfig;
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::log_probs::log_probs;
use ppo::{RolloutConfig, RolloutGroup, TokenBatch, rollout};
use tensor_core::allocator::keep_freed_memory;
use tensor_core::{Parameters, Rng, backward};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

const N_PROMPTS: usize = 32;
const GROUP_SIZE: usize = 16;
const PROMPT_LEN: usize = 14;
const MAX_NEW_TOKENS: usize = 4;

fn main() -> Result<()> {
    keep_freed_memory();
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 15 };
    let config = ModelConfig { vocab_size: 1024, ..ModelConfig::byte_level(128, 2, 4, 128) };
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    let policy = GptModern::new(&config, parameters.root())?;
    let inference_policy = GptModern::new(&config, parameters.for_inference().root())?;
    let prompts: Vec<Vec<u32>> = (0..N_PROMPTS)
        .map(|i| (0..PROMPT_LEN).map(|t| ((i * 31 + t * 7) % 1000) as u32).collect())
        .collect();
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let rollout_config =
        |group_size| RolloutConfig::new(group_size, sampler, MAX_NEW_TOKENS, vec![1023]);
    let repeated_prompts: Vec<Vec<u32>> =
        prompts.iter().flat_map(|prompt| vec![prompt.clone(); GROUP_SIZE]).collect();

    let sample = |prompts: &[Vec<u32>], group_size| -> Result<()> {
        rollout(&inference_policy, prompts, &rollout_config(group_size), &mut Rng::new(3))?;
        Ok(())
    };
    let shared_groups =
        rollout(&inference_policy, &prompts, &rollout_config(GROUP_SIZE), &mut Rng::new(3))?;
    let split = |group: &RolloutGroup| -> Vec<RolloutGroup> {
        let single = |completion: &ppo::SampledCompletion| RolloutGroup {
            prompt: group.prompt.clone(),
            completions: vec![completion.clone()],
        };
        group.completions.iter().map(single).collect()
    };
    let single_groups: Vec<RolloutGroup> = shared_groups.iter().flat_map(split).collect();
    let update = |groups: &[RolloutGroup]| -> Result<()> {
        let batch = TokenBatch::from_groups(groups, policy.config(), policy.device())?;
        backward(&log_probs(&policy, &batch, 1.)?.sum_all()?)?;
        Ok(())
    };
    type Work<'a> = &'a dyn Fn() -> Result<()>;
    let rows: [(&str, Work<'_>, Work<'_>); 2] = [
        ("rollout", &|| sample(&prompts, GROUP_SIZE), &|| sample(&repeated_prompts, 1)),
        ("update", &|| update(&shared_groups), &|| update(&single_groups)),
    ];
    println!(
        "| {N_PROMPTS} prompts of {PROMPT_LEN}, {GROUP_SIZE} completions of {MAX_NEW_TOKENS} \
         | prompt computed once | {GROUP_SIZE} times | median ratio of a pair |"
    );
    println!("| --- | --- | --- | --- |");
    for (name, once, repeated) in rows {
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            pairs.push((milliseconds(once)?, milliseconds(repeated)?));
        }
        let once = median(pairs.iter().map(|(once, _)| *once).collect());
        let repeated = median(pairs.iter().map(|(_, repeated)| *repeated).collect());
        let ratio = median(pairs.iter().map(|(once, repeated)| repeated / once).collect());
        println!("| {name} | {once:.1} ms | {repeated:.1} ms | {ratio:.2} |");
    }
    Ok(())
}

/// Duration of `work` in milliseconds.
fn milliseconds(work: &dyn Fn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
