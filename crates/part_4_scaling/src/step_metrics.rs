//! 4.5 What is noted of a step, and how much of it is shown.

use tiny_gpt::Sampling;

/// The figures of a step.
#[derive(Debug, Clone, Copy)]
pub struct PretrainStepMetrics {
    /// Counted from 1.
    pub step: usize,
    /// Times that the data has been read.
    pub epoch: u64,
    /// In nats per token.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Of the gradients, before clipping.
    pub grad_norm: f64,
}

/// What of a run is shown how.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// Steps between two rows of figures.
    pub interval: usize,
    /// Steps in all.
    pub total_steps: usize,
    /// Of these, those in which the rate rises.
    pub warmup_steps: usize,
    /// Tokens of a step.
    pub tokens_per_step: usize,
    /// The share of the machine's peak that one token per second is.
    pub mfu_per_token_per_s: f64,
    /// How samples are drawn.
    pub sampling: Sampling,
    /// Their length in tokens.
    pub sample_len: usize,
}
