//! The update of part 9: the gradient of GRPO's loss over all completions of a step, and the optimizer's step.
//!
//! PyTorch's side is what TRL does: a row for each completion, the prompt in each. Ours computes a prompt once for its group.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device};
use grpo::update::{MicroBatch, gradients, micro_batches};
use grpo::{Aggregation, Baseline, GrpoExperience, Kl, Objective, advantages};
use modern::GptModern;
use modern::config::{Mlp, ModelConfig};
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::{Clip, RolloutConfig, rollout};
use serde::{Deserialize, Serialize};
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, clip_grad_norm};

/// What was drawn, and the model: sizes as they stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PolicyUpdate {
    /// V
    pub vocab: usize,
    /// Blocks.
    pub n_layer: usize,
    /// H
    pub n_head: usize,
    /// C
    pub n_embd: usize,
    /// F
    pub n_ff: usize,
    /// Prompts of a step.
    pub prompts: usize,
    /// G
    pub samples: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of a completion.
    pub new: usize,
}

impl PolicyUpdate {
    /// The arithmetic task: questions of 14 tokens, answers of 4, in the model that part 6 makes.
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

    /// Tokens of all completions, each with its prompt.
    pub fn tokens(&self) -> usize {
        self.prompts * self.samples * (self.prompt + self.new)
    }
}

/// A policy that learns from what it drew once, again and again.
pub struct Updating {
    policy: GptModern,
    parameters: Parameters,
    optimizer: AdamW,
    objective: Objective,
    parts: Vec<MicroBatch>,
}

impl Updating {
    /// Draws what is learned from, half of it good.
    pub fn new(what: PolicyUpdate) -> Result<Self> {
        let PolicyUpdate { vocab, n_layer, n_head, n_embd, n_ff, .. } = what;
        let PolicyUpdate { prompts, samples, prompt, new, .. } = what;
        let bytes = ModelConfig::byte_level(prompt + new, n_layer, n_head, n_embd);
        let mlp = Mlp::SwiGlu { width: n_ff };
        let config = ModelConfig { vocab_size: vocab, mlp, ..bytes };
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        let policy = GptModern::new(&config, parameters.root())?;
        let twin = GptModern::new(&config, parameters.for_inference().root())?;
        let mut rng = Rng::new(2);
        let asked = (0..prompts).map(|_| (0..prompt).map(|_| rng.below(vocab) as u32).collect());
        let asked: Vec<Vec<u32>> = asked.collect();
        let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
        let stop = vec![u32::MAX]; // which nobody writes, so that all are of one length
        let drawing = RolloutConfig {
            group_size: samples,
            sampler,
            max_new_tokens: new,
            stop_token_ids: stop,
        };
        let groups = rollout(&twin, &asked, &drawing, &mut rng)?;
        let n = prompts * samples;
        let rewards: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
        let experience = GrpoExperience {
            groups,
            temperature: 1.,
            completion_texts: Vec::new(),
            advantages: advantages(&rewards, samples, Baseline::GroupStd, 1e-4)?,
            rewards,
            weights: Aggregation::Token.weights(&vec![new; n], &vec![true; n], new),
        };
        let objective = Objective {
            clip_range: Clip::symmetric(0.2),
            kl: Some((Kl::K3, 0.03)),
            importance_sampling_cap: None,
        };
        let parts = micro_batches(&experience, &objective, &twin, Some(&twin), prompts)?;
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        Ok(Self { policy, parameters, optimizer, objective, parts })
    }

    /// One update; gives its time.
    pub fn step(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let (_, mut grads, _) =
            gradients(&self.policy, &self.parameters, &self.parts, &self.objective)?;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, 1e-4)?;
        Ok(start.elapsed())
    }
}
