//! 6.3 One step of supervised fine-tuning, from the batch to the optimizer.
//!
//! ```text
//! loss = −(1/N) Σ log π(y_t | y_<t)      over the N target tokens of all micro-batches (6.2)
//! ```

use anyhow::Result;
use experiment::{RunLog, StepMetrics, TrainState};
use modern::GptModern;
use scaling::accumulation::{GradAccumulator, total_targets};
use serde_json::json;
use tensor_core::clip_grad_norm;

use crate::{SftBatch, TrainConfig};

/// Takes the next step of `state`, whose model is `model`, on these micro-batches.
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
    let n_targets = total_targets(batches.iter().map(SftBatch::n_targets))?;
    let mut accumulator = GradAccumulator::default();
    for batch in batches {
        let loss = batch.loss(model)?; // (), mean over the targets of the micro-batch
        let share = batch.n_targets() as f64 / n_targets as f64;
        accumulator.backward(&(loss * share)?, &[&state.parameters])?;
    }
    let (loss, mut grads) = accumulator.finish()?;
    let grad_norm = clip_grad_norm(&mut grads, &state.parameters, config.max_grad_norm)?;
    let lr = config.schedule.lr_at(step);
    log.check(step, loss, lr, grad_norm)?;
    state.optimizer.step(&grads, lr)?;
    state.progress.step = step;

    let n_tokens: usize = batches.iter().map(SftBatch::n_tokens).sum();
    let learned_share = n_targets as f64 / n_tokens as f64;
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.step(&metrics, json!({ "learned_share": learned_share }))
}
