//! Hyperparameters of a fine-tuning run.

use scaling::LrSchedule;
use tensor_core::AdamWConfig;

use crate::Curriculum;

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
    /// AdamW hyperparameters: β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
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
            optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
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
