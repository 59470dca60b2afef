//! How cost grows: a training step of chapter 4 and an update of chapter 9, on random tokens.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use grpo::{Aggregation, Baseline, GrpoExperience, LossLevel, MicroBatch, Objective, advantages};
use modern::{FinishReason, GptModern};
use ppo::{Clip, RolloutGroup, SampledCompletion};
use scaling::accumulation;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, clip_grad_norm};
use tiny_gpt::Batch;

use crate::step_cost::{Axis, COMPLETION_LEN, PROMPT_LEN, PROMPTS, Shape};

/// Clip range of the update.
const CLIP_RANGE: f64 = 0.2;
/// Learning rate, of no importance here.
const LR: f64 = 1e-4;

/// A model with its optimizer and a batch, for steps that all cost the same.
pub(crate) struct Step {
    model: GptModern,
    parameters: Parameters,
    optimizer: AdamW,
    work: Work,
}

/// Batch of a step.
enum Work {
    /// Windows of text, and the token after each.
    Training(Vec<Batch>),
    /// Prompts with their completions, and the clipped loss of GRPO.
    Update(Vec<MicroBatch>, Objective),
}

impl Step {
    /// Step at this size of `axis`.
    ///
    /// # Errors
    /// When memory is short.
    pub(crate) fn new(axis: Axis, size: usize) -> Result<Self> {
        let shape = axis.shape(size);
        let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        let model = GptModern::new(&shape.config(), parameters.root())?;
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        let mut rng = Rng::new(2);
        let work = match axis {
            Axis::Group => update(&model, &shape, size, &mut rng)?,
            _ => Work::Training(vec![windows(&shape, &mut rng)?]),
        };
        Ok(Self { model, parameters, optimizer, work })
    }

    /// Takes the step: forward and backward pass, gradient clipping, AdamW.
    ///
    /// # Errors
    /// When memory is short.
    pub(crate) fn run(&mut self) -> Result<()> {
        let Self { model, parameters, .. } = &*self;
        let grads = match &self.work {
            Work::Training(batches) => {
                accumulation::gradients(model, parameters, batches, 1.)?.grads
            }
            Work::Update(micro_batches, objective) => {
                grpo::step::gradients(model, parameters, micro_batches, objective)?.0.grads
            }
        };
        let mut grads = grads.context("the batch has no targets")?;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, LR)?;
        Ok(())
    }
}

/// Batch of random windows.
fn windows(shape: &Shape, rng: &mut Rng) -> Result<Batch> {
    let (n_rows, t) = (shape.n_rows, shape.row_len);
    let tokens = random_tokens(n_rows * t + 1, shape.vocab_size, rng);
    let starts: Vec<usize> = (0..n_rows).map(|row| row * t).collect();
    Batch::from_starts(&tokens, &starts, t, &Device::Cpu)
}

/// Prompts with `group_size` random completions each, all in one micro-batch; every second
/// completion has a reward of 1, the others 0.
fn update(model: &GptModern, shape: &Shape, group_size: usize, rng: &mut Rng) -> Result<Work> {
    let v = shape.vocab_size;
    let mut groups = Vec::new();
    for _ in 0..PROMPTS {
        let prompt = random_tokens(PROMPT_LEN, v, rng);
        let completions = (0..group_size).map(|_| SampledCompletion {
            tokens: random_tokens(COMPLETION_LEN, v, rng),
            log_probs: vec![-(v as f32).ln(); COMPLETION_LEN],
            allowed_tokens: Vec::new(),
            finish_reason: FinishReason::Length,
        });
        groups.push(RolloutGroup { prompt, completions: completions.collect() });
    }
    let n = PROMPTS * group_size;
    let rewards: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
    let lengths = vec![COMPLETION_LEN; n];
    let experience = GrpoExperience {
        groups,
        temperature: 1.,
        completion_texts: Vec::new(),
        advantages: advantages(&rewards, group_size, Baseline::GroupStd, 1e-4, 0.)?,
        rewards,
        weights: Aggregation::Token.weights(&lengths, &vec![true; n], COMPLETION_LEN),
    };
    let objective = Objective {
        level: LossLevel::Token,
        clip_range: Some(Clip::symmetric(CLIP_RANGE)),
        kl: None,
        importance_sampling_cap: None,
    };
    let micro_batches = experience.micro_batches(&objective, model, None, PROMPTS)?;
    Ok(Work::Update(micro_batches, objective))
}

/// `n` tokens of a vocabulary of `v`.
fn random_tokens(n: usize, v: usize, rng: &mut Rng) -> Vec<u32> {
    (0..n).map(|_| rng.below(v) as u32).collect()
}
