//! Flags that mean the same in every part.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use tensor_core::allocator::keep_freed_memory;
use tensor_core::threads::set_num_threads;
use tensor_core::{AdamWConfig, DeviceChoice};

use crate::command::as_usage_error;
use crate::{GptConfig, LrDecay, Sampling, TrainConfig, TrainLog};

/// A step on more tokens than this would fill any memory.
const MAX_TOKENS_PER_STEP: usize = 1 << 22;
const TOO_MANY_TOKENS_MESSAGE: &str =
    "--batch-size times --context-len must be at most 4194304 tokens";

/// Where and how a command computes.
#[derive(Debug, Clone, Serialize, Args)]
pub struct ComputeFlags {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 1337)]
    pub seed: u64,
}

impl ComputeFlags {
    /// Sets the threads and opens the device; first thing in `main`.
    pub fn open_device(&self) -> Result<Device> {
        keep_freed_memory();
        set_num_threads(self.threads)?;
        Ok(self.device.open()?)
    }
}

/// The sizes of a new model.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ModelSizeFlags {
    /// Transformer blocks
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_layer: usize,
    /// Attention heads per block; must divide --n-embd
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_head: usize,
    /// Channels of a token
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub n_embd: usize,
    /// Longest text the model sees, in tokens
    #[arg(long, visible_alias = "block-size", value_name = "N", default_value_t = 256)]
    pub context_len: usize,
    /// Probability of dropout while training
    #[arg(
        long, value_name = "P", default_value_t = 0., allow_negative_numbers = true,
        value_parser = dropout
    )]
    pub dropout: f64,
}

impl ModelSizeFlags {
    /// The byte-level model of these sizes.
    ///
    /// # Errors
    /// A [`UsageError`](crate::command::UsageError) when a size is 0 or the heads do not divide the channels.
    pub fn config(&self) -> Result<GptConfig> {
        as_usage_error(self.checked())
    }

    fn checked(&self) -> Result<GptConfig> {
        let Self { n_layer, n_head, n_embd, context_len: block_size, dropout } = *self;
        ensure!(n_layer > 0 && block_size > 0, "--n-layer and --context-len must be at least 1");
        let mut config = GptConfig::byte_level(block_size, n_layer, n_head, n_embd);
        config.block.dropout = dropout;
        config.block.check()?;
        Ok(config)
    }
}

/// Sampling flags: temperature, top-k, top-p.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct SamplingFlags {
    /// Below 1 likelier tokens, above 1 wilder ones, 0 always the best
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = temperature
    )]
    pub temperature: f64,
    /// Draw from the K best tokens
    #[arg(long, value_name = "K", default_value = "50")]
    pub top_k: NonZeroUsize,
    /// Draw from the fewest tokens that hold the share P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
}

impl SamplingFlags {
    /// The sampling they describe.
    pub fn sampling(&self) -> Sampling {
        Sampling::new(self.temperature, Some(self.top_k.get()), self.top_p)
    }
}

/// Optimizer flags: AdamW's β₂ and weight decay, and gradient clipping.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct OptimizerFlags {
    /// Memory of the gradients' squares; small batches are noisy and want a long one
    #[arg(
        long, visible_alias = "adam-beta2", value_name = "X", default_value_t = 0.99, allow_negative_numbers = true,
        value_parser = beta
    )]
    pub beta2: f64,
    /// Pull of the matrices towards 0
    #[arg(
        long, value_name = "X", default_value_t = 0.1, allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub weight_decay: f64,
    /// Largest gradient norm; 0 for no clipping
    #[arg(
        long, visible_alias = "grad-clip", value_name = "X", default_value_t = 1., allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub max_grad_norm: f64,
}

impl OptimizerFlags {
    /// AdamW's constants.
    pub fn adamw_config(&self) -> AdamWConfig {
        let Self { beta2, weight_decay, .. } = *self;
        AdamWConfig { beta2, weight_decay, ..AdamWConfig::default() }
    }

    /// The largest gradient norm, if there is one.
    pub fn max_grad_norm(&self) -> Option<f64> {
        (self.max_grad_norm > 0.).then_some(self.max_grad_norm)
    }
}

/// Training, evaluation and sampling flags of a `train` command.
#[derive(Debug, Clone, Copy, Args)]
pub struct TrainFlags {
    /// Optimiser steps
    #[arg(long, visible_alias = "max-steps", value_name = "N", default_value = "2000")]
    pub steps: NonZeroUsize,
    /// Windows of text per step
    #[arg(
        long,
        visible_alias = "per-device-train-batch-size",
        value_name = "N",
        default_value = "32"
    )]
    pub batch_size: NonZeroUsize,
    /// Highest learning rate; it rises over the first twentieth of the steps
    #[arg(
        long, visible_alias = "learning-rate", value_name = "X", default_value_t = 3e-3, allow_negative_numbers = true,
        value_parser = positive
    )]
    pub lr: f64,
    /// Learning-rate schedule after the warm-up
    #[arg(long, visible_alias = "lr-scheduler-type", alias = "lr-decay", value_enum, default_value_t = LrDecay::Linear)]
    pub lr_scheduler: LrDecay,
    /// Optimizer flags: AdamW's β₂ and weight decay, and gradient clipping.
    #[command(flatten)]
    pub optimizer: OptimizerFlags,
    /// Steps between two looks at the held-out text
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value = "200"
    )]
    pub eval_interval: NonZeroUsize,
    /// Steps between two samples; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sample_interval: usize,
    /// Length of each sample
    #[arg(long, alias = "sample-tokens", value_name = "N", default_value_t = 256)]
    pub sample_len: usize,
    /// Sampling of the samples that the run prints.
    #[command(flatten)]
    pub sampling: SamplingFlags,
}

impl TrainFlags {
    /// The settings they describe, for windows of `block_size` tokens.
    ///
    /// # Errors
    /// A [`UsageError`](crate::command::UsageError) when a step would fill any memory.
    pub fn config(&self, block_size: usize) -> Result<TrainConfig> {
        let tokens = self.batch_size.get().saturating_mul(block_size);
        as_usage_error(if tokens <= MAX_TOKENS_PER_STEP {
            Ok(())
        } else {
            Err(TOO_MANY_TOKENS_MESSAGE)
        })?;
        Ok(TrainConfig {
            steps: self.steps.get(),
            batch_size: self.batch_size.get(),
            lr: self.lr,
            lr_scheduler: self.lr_scheduler,
            optimizer: self.optimizer.adamw_config(),
            max_grad_norm: self.optimizer.max_grad_norm(),
            eval_interval: self.eval_interval.get(),
            sample_interval: self.sample_interval,
        })
    }

    /// A log of such a run, which ends with the model saved at Ctrl-C.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn train_log(&self) -> Result<TrainLog> {
        let sampling = self.sampling.sampling();
        TrainLog::new(self.steps.get())?
            .with_sampling(sampling, self.sample_len)
            .stop_on_interrupt()
    }
}

fn finite_number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("not a finite number".into()) }
}

fn in_range(text: &str, range: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    let number = finite_number(text)?;
    if range(number) { Ok(number) } else { Err(what.into()) }
}

/// A temperature: 0 or more.
pub fn temperature(text: &str) -> Result<f64, String> {
    in_range(text, |t| t >= 0., "must be 0 (greedy) or above")
}

/// A share above 0, at most 1.
pub fn probability(text: &str) -> Result<f64, String> {
    in_range(text, |p| p > 0. && p <= 1., "must be above 0 and at most 1")
}

/// A probability of dropout: at least 0, below 1.
pub fn dropout(text: &str) -> Result<f64, String> {
    in_range(text, |p| (0. ..1.).contains(&p), "must be at least 0 and below 1")
}

/// The decay of a moving average: at least 0, below 1.
pub fn beta(text: &str) -> Result<f64, String> {
    dropout(text)
}

/// A positive number.
pub fn positive(text: &str) -> Result<f64, String> {
    in_range(text, |x| x > 0., "must be above 0")
}

/// A number of 0 or more.
pub fn non_negative(text: &str) -> Result<f64, String> {
    in_range(text, |x| x >= 0., "must be 0 or above")
}
