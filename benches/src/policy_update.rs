//! Part 9's update: the gradient of GRPO's loss over all completions of a step, and the optimizer
//! step.
//!
//! PyTorch's side computes what TRL computes: one row per completion, each with its prompt. Our
//! code computes the prompt of a group once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use grpo::step::gradients;
use grpo::{
    Aggregation, Baseline, GrpoExperience, KlLoss, LossLevel, MicroBatch, Objective, advantages,
};
use model_io::config::{Mlp, ModelConfig};
use modern::GptModern;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::{Clip, RolloutConfig, rollout};
use serde::{Deserialize, Serialize};
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, clip_grad_norm};

/// Sizes of the model and of the rollouts, as in a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PolicyUpdate {
    /// Vocabulary size, V.
    pub vocab: usize,
    /// Number of transformer blocks.
    pub n_layer: usize,
    /// Number of heads, H.
    pub n_head: usize,
    /// Width, C.
    pub n_embd: usize,
    /// Width of the feed-forward layers, F.
    pub n_ff: usize,
    /// Prompts per step.
    pub prompts: usize,
    /// Completions per prompt (group size), G.
    pub samples: usize,
    /// Tokens per prompt.
    pub prompt: usize,
    /// Tokens per completion.
    pub new: usize,
}

impl PolicyUpdate {
    /// Sizes of the arithmetic task: prompts of 14 tokens, completions of 4, part 6's model.
    pub const ARITHMETIC: Self = Self {
        vocab: 1024,
        n_layer: 2,
        n_head: 4,
        n_embd: 128,
        n_ff: 344,
        prompts: 32,
        samples: 16,
        prompt: 14,
        new: 4,
    };

    /// Total number of tokens, each completion counted with its prompt.
    pub fn tokens(&self) -> usize {
        self.prompts * self.samples * (self.prompt + self.new)
    }
}

/// A policy that is updated on the same rollouts in every step.
pub struct PolicyUpdater {
    policy: GptModern,
    parameters: Parameters,
    optimizer: AdamW,
    objective: Objective,
    micro_batches: Vec<MicroBatch>,
}

impl PolicyUpdater {
    /// Samples the rollouts; every second completion gets a reward of 1, the others 0.
    pub fn new(sizes: PolicyUpdate) -> Result<Self> {
        let PolicyUpdate { vocab, n_layer, n_head, n_embd, n_ff, .. } = sizes;
        let PolicyUpdate { prompts, samples, prompt, new, .. } = sizes;
        let byte_level = ModelConfig::byte_level(prompt + new, n_layer, n_head, n_embd);
        let mlp = Mlp::SwiGlu { width: n_ff };
        let config = ModelConfig { vocab_size: vocab, mlp, ..byte_level };
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        let policy = GptModern::new(&config, parameters.root())?;
        let inference_policy = GptModern::new(&config, parameters.for_inference().root())?;
        let mut rng = Rng::new(2);
        let prompt_ids =
            (0..prompts).map(|_| (0..prompt).map(|_| rng.below(vocab) as u32).collect());
        let prompt_ids: Vec<Vec<u32>> = prompt_ids.collect();
        let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
        let rollout_config = RolloutConfig::new(
            // Outside the vocabulary, so that all completions have the same length.
            samples,
            sampler,
            new,
            vec![u32::MAX],
        );
        let groups = rollout(&inference_policy, &prompt_ids, &rollout_config, &mut rng)?;
        let n = prompts * samples;
        let rewards: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
        let experience = GrpoExperience {
            groups,
            temperature: 1.,
            completion_texts: Vec::new(),
            advantages: advantages(&rewards, samples, Baseline::GroupStd, 1e-4, 0.)?,
            rewards,
            weights: Aggregation::Token.weights(&vec![new; n], &vec![true; n], new),
        };
        let objective = Objective {
            level: LossLevel::Token,
            clip_range: Some(Clip::symmetric(0.2)),
            kl: Some((KlLoss::K3, 0.03)),
            importance_sampling_cap: None,
        };
        let reference = Some(&inference_policy);
        let micro_batches =
            experience.micro_batches(&objective, &inference_policy, reference, prompts)?;
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        Ok(Self { policy, parameters, optimizer, objective, micro_batches })
    }

    /// Runs one update and returns its duration.
    pub fn step(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let (loss, _) =
            gradients(&self.policy, &self.parameters, &self.micro_batches, &self.objective)?;
        let mut grads = loss.grads.context("no group has an advantage")?;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, 1e-4)?;
        Ok(start.elapsed())
    }
}
