//! 6.3 One step of supervised fine-tuning, from the batch to the optimizer, and its
//! hyperparameters.
//!
//! ```text
//! loss = −(1/N) Σ log π(y_t | y_<t)      over the N target tokens of all micro-batches (6.2)
//! ```

use anyhow::Result;
use experiment::{RunLog, StepMetrics, TrainState};
use modern::GptModern;
use ranks::BatchGradients;
use scaling::LrSchedule;
use scaling::accumulation::GradAccumulator;
use serde_json::json;
use tensor_core::{AdamWConfig, OptimizerConfig, clip_grad_norm};

use crate::{Curriculum, SftBatch};

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Examples per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per step (gradient accumulation).
    pub grad_accum_steps: usize,
    /// Order of the examples.
    pub curriculum: Curriculum,
    /// Layout of the examples in a batch.
    pub batch_layout: BatchLayout,
    /// Learning rate of each step, and number of steps.
    pub schedule: LrSchedule,
    /// Optimizer, and its hyperparameters.
    pub optimizer: OptimizerConfig,
    /// Gradient norm above which gradients are clipped.
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}

impl TrainConfig {
    /// Default configuration: `steps` batches in shuffled order, one example per row, and a cosine
    /// schedule with peak `peak_lr`.
    pub fn with_defaults(batch_size: usize, steps: usize, peak_lr: f64, seed: u64) -> Self {
        Self {
            batch_size,
            grad_accum_steps: 1,
            curriculum: Curriculum::Shuffled,
            batch_layout: BatchLayout::Padded,
            schedule: LrSchedule::cosine(peak_lr, steps),
            optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() }
                .into(),
            max_grad_norm: 1.,
            seed,
        }
    }
}

/// Layout of the examples in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchLayout {
    /// One example per row, padded on the right.
    Padded,
    /// Several examples per row, in rows of this many tokens.
    Packed(usize),
}

/// Takes the next step of `state`, whose model is `model`, on these micro-batches, or this
/// rank's examples of them.
///
/// # Errors
/// When no micro-batch has a target, the loss is not finite, or the log cannot be written.
pub fn sft_step(
    model: &GptModern,
    state: &mut TrainState,
    batches: &[SftBatch],
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = state.progress.step + 1;
    let n_targets: usize = batches.iter().map(SftBatch::n_targets).sum();
    let mut accumulator = GradAccumulator::default();
    for batch in batches {
        let loss = batch.loss(model)?; // (), mean over the targets of the micro-batch
        let share = batch.n_targets() as f64 / n_targets.max(1) as f64;
        accumulator.backward(&(loss * share)?, &[&state.parameters])?;
    }
    let n_tokens = batches.iter().map(SftBatch::n_tokens).sum();
    let of_rank = accumulator.finish_rank(n_targets, n_tokens)?;
    let BatchGradients { loss, mut grads, n_targets, n_tokens, .. } =
        of_rank.average(&state.ranks, &[&state.parameters])?;
    let grad_norm = clip_grad_norm(&mut grads, &state.parameters, config.max_grad_norm)?;
    let lr = config.schedule.lr_at(step);
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.check(&metrics)?;
    state.optimizer.step(&grads, lr)?;
    state.progress.step = step;

    let learned_share = n_targets as f64 / n_tokens as f64;
    let param_norm = log.param_norm(step, &state.parameters)?;
    log.step(&metrics, json!({ "learned_share": learned_share, "param_norm": param_norm }))
}
