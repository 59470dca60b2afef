//! Hyperparameters of a pretraining run.

use candle_core::DType;
use modern::GradientCheckpointing;
use tensor_core::AdamWConfig;

use crate::LrSchedule;

/// Hyperparameters that determine the result.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Sequences per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step.
    pub grad_accum_steps: usize,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Maximum gradient norm.
    pub max_grad_norm: f64,
    /// Dropout probability.
    pub dropout: f64,
    /// Data type of the model's computations.
    pub dtype: DType,
    /// Gradient checkpointing.
    pub gradient_checkpointing: GradientCheckpointing,
    /// Seed of the shuffle.
    pub seed: u64,
}
