//! 4.5 Metrics of a training step, and the settings of the log.

use tiny_gpt::Sampling;

/// Metrics of a training step.
#[derive(Debug, Clone, Copy)]
pub struct PretrainStepMetrics {
    /// Step, counted from 1.
    pub step: usize,
    /// Number of completed epochs.
    pub epoch: u64,
    /// Training loss in nats per token.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
}

/// Settings of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// Steps between rows of metrics.
    pub interval: usize,
    /// Total number of steps.
    pub total_steps: usize,
    /// Number of warm-up steps.
    pub warmup_steps: usize,
    /// Number of tokens per step.
    pub tokens_per_step: usize,
    /// Model FLOPs utilization (MFU) at one token per second.
    pub mfu_per_token_per_s: f64,
    /// Sampling strategy.
    pub sampling: Sampling,
    /// Length of a sample in tokens.
    pub sample_len: usize,
}
