//! Hyperparameters of a training run of a reward model.

use scaling::LrSchedule;
use tensor_core::AdamWConfig;

use crate::PreferenceLoss;

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
    /// AdamW's β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Maximum gradient norm (clipping).
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}
