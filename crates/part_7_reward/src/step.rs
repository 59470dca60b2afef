//! 7.3 One step of training a reward model, from the pairs to the optimizer, and its
//! hyperparameters.
//!
//! ```text
//! loss = −mean log σ(r⁺ − r⁻)      over the pairs of all micro-batches (losses.rs has variants)
//! ```

use anyhow::Result;
use candle_core::Tensor;
use experiment::{RunLog, StepMetrics, TrainState};
use ranks::BatchGradients;
use scaling::LrSchedule;
use scaling::accumulation::GradAccumulator;
use serde_json::json;
use tensor_core::{OptimizerConfig, clip_grad_norm};

use crate::metrics::{PairRewards, accuracy, mean_margin};
use crate::{PairBatch, PreferenceLoss, RewardModel};

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Pairs per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step (gradient accumulation).
    pub grad_accum_steps: usize,
    /// Preference loss.
    pub loss: PreferenceLoss,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// Optimizer, and its hyperparameters.
    pub optimizer: OptimizerConfig,
    /// Maximum gradient norm (clipping).
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}

/// Takes the next step of `state`, whose model is `model`, on these micro-batches, or this rank's
/// pairs of them.
///
/// # Errors
/// When the loss is not finite, or the log cannot be written.
pub fn reward_step(
    model: &RewardModel,
    state: &mut TrainState,
    batches: &[PairBatch],
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = state.progress.step + 1;
    let n_pairs: usize = batches.iter().map(PairBatch::n_pairs).sum();
    let mut accumulator = GradAccumulator::default();
    let mut rewards = Vec::new();
    for batch in batches {
        let [chosen, rejected] = batch.rewards(model)?; // (P) each
        let loss = config.loss.compute(&chosen, &rejected)?; // (), mean over the micro-batch
        let share = batch.n_pairs() as f64 / n_pairs.max(1) as f64;
        accumulator.backward(&(loss * share)?, &[&state.parameters])?;
        rewards.push(Tensor::stack(&[chosen.detach(), rejected.detach()], 1)?); // (P, 2)
    }
    let n_tokens = batches.iter().map(PairBatch::n_tokens).sum();
    let of_rank = accumulator.finish_rank(n_pairs, n_tokens)?;
    let BatchGradients { loss, mut grads, n_tokens, .. } =
        of_rank.average(&state.ranks, &[&state.parameters])?;
    let grad_norm = clip_grad_norm(&mut grads, &state.parameters, config.max_grad_norm)?;
    let lr = config.schedule.lr_at(step);
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.check(&metrics)?;
    state.optimizer.step(&grads, lr)?;
    state.progress.step = step;

    let rewards = state.ranks.gather(&pair_rewards(&rewards)?)?.concat();
    let param_norm = log.param_norm(step, &state.parameters)?;
    let row = json!({
        "accuracy": accuracy(&rewards), "margin": mean_margin(&rewards), "param_norm": param_norm,
    });
    log.step(&metrics, row)
}

/// Rewards of the pairs of all micro-batches, from those of each: (P, 2). They are read once.
fn pair_rewards(of_batches: &[Tensor]) -> Result<Vec<PairRewards>> {
    if of_batches.is_empty() {
        return Ok(Vec::new()); // as a rank without pairs
    }
    let rewards = Tensor::cat(of_batches, 0)?.to_vec2::<f32>()?; // waits for the device
    Ok(rewards.iter().map(|pair| [f64::from(pair[0]), f64::from(pair[1])]).collect())
}
