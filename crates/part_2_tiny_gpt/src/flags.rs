//! Command-line flags that have the same meaning in every part.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::flags::OptimizerFlags;
use experiment::number::{dropout, positive, probability, temperature};
use experiment::program::as_usage_error;
use serde::Serialize;

use crate::{GptConfig, LrDecay, Sampling, TrainConfig, TrainLog};

/// Largest number of tokens per step; more would exceed any memory.
const MAX_TOKENS_PER_STEP: usize = 1 << 22;
const TOO_MANY_TOKENS_MESSAGE: &str =
    "--batch-size times --context-len must be at most 4194304 tokens";

/// Size flags of a new model.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ModelSizeFlags {
    /// Number of transformer blocks
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_layer: usize,
    /// Attention heads per block; must divide --n-embd
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_head: usize,
    /// Embedding width (channels per token)
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub n_embd: usize,
    /// Context length in tokens
    #[arg(long, visible_alias = "block-size", value_name = "N", default_value_t = 256)]
    pub context_len: usize,
    /// Dropout probability in training
    #[arg(
        long, value_name = "P", default_value_t = 0., allow_negative_numbers = true,
        value_parser = dropout
    )]
    pub dropout: f64,
}

impl ModelSizeFlags {
    /// Configuration of the byte-level model of these sizes.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when a size is 0 or the heads do not divide the
    /// channels.
    pub fn config(&self) -> Result<GptConfig> {
        as_usage_error(self.checked_config())
    }

    fn checked_config(&self) -> Result<GptConfig> {
        let Self { n_layer, n_head, n_embd, context_len, dropout } = *self;
        ensure!(n_layer > 0 && context_len > 0, "--n-layer and --context-len must be at least 1");
        let mut config = GptConfig::byte_level(context_len, n_layer, n_head, n_embd);
        config.block.dropout = dropout;
        config.block.check()?;
        Ok(config)
    }
}

/// Sampling flags: temperature, top-k, top-p.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct SamplingFlags {
    /// Sampling temperature; 0 is greedy
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = temperature
    )]
    pub temperature: f64,
    /// Top-k sampling: keep the K most likely tokens
    #[arg(long, value_name = "K", default_value = "50")]
    pub top_k: NonZeroUsize,
    /// Top-p (nucleus) sampling: keep the fewest tokens with total probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
}

impl SamplingFlags {
    /// Sampling strategy of these flags.
    pub fn sampling(&self) -> Sampling {
        Sampling::new(self.temperature, Some(self.top_k.get()), self.top_p)
    }
}

/// Training, evaluation and sampling flags of a `train` command.
#[derive(Debug, Clone, Copy, Args)]
pub struct TrainFlags {
    /// Number of optimizer steps
    #[arg(long, visible_alias = "max-steps", value_name = "N", default_value = "2000")]
    pub steps: NonZeroUsize,
    /// Batch size in windows of text
    #[arg(
        long,
        visible_alias = "per-device-train-batch-size",
        value_name = "N",
        default_value = "32"
    )]
    pub batch_size: NonZeroUsize,
    /// Peak learning rate, reached after a linear warm-up over the first 5% of the steps
    #[arg(
        long, visible_alias = "learning-rate", value_name = "X", default_value_t = 3e-3,
        allow_negative_numbers = true, value_parser = positive
    )]
    pub lr: f64,
    /// Learning-rate schedule after the warm-up
    #[arg(
        long, visible_alias = "lr-scheduler-type", alias = "lr-decay", value_enum,
        default_value_t = LrDecay::Linear
    )]
    pub lr_scheduler: LrDecay,
    /// Optimizer flags: AdamW's β₂ and weight decay, and gradient clipping.
    #[command(flatten)]
    pub optimizer: OptimizerFlags,
    /// Steps between evaluations on the validation text
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value = "200"
    )]
    pub eval_interval: NonZeroUsize,
    /// Steps between printed samples; 0 disables them
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sample_interval: usize,
    /// Tokens per printed sample
    #[arg(long, alias = "sample-tokens", value_name = "N", default_value_t = 256)]
    pub sample_len: usize,
    /// Sampling flags of the samples that the run prints.
    #[command(flatten)]
    pub sampling: SamplingFlags,
}

impl TrainFlags {
    /// Training configuration of these flags, for windows of `context_len` tokens.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when a step would exceed any memory.
    pub fn config(&self, context_len: usize) -> Result<TrainConfig> {
        let tokens = self.batch_size.get().saturating_mul(context_len);
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

    /// Log of a run with these flags. On Ctrl-C the run stops after the current step and saves the
    /// model.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn train_log(&self) -> Result<TrainLog> {
        let sampling = self.sampling.sampling();
        TrainLog::new(self.steps.get())?
            .with_sampling(sampling, self.sample_len)
            .stop_on_interrupt()
    }
}
