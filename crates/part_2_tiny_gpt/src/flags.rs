//! Command-line flags that have the same meaning in every part.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{OptimizerFlags, Precision};
use experiment::number::{dropout, positive, probability, temperature, unit_interval};
use experiment::program::{as_usage_error, ensure_usage};
use serde::Serialize;

use crate::{GptConfig, LrDecay, SampleConfig, Sampling, TrainConfig};

/// Largest number of tokens per step; more would exceed any memory.
const MAX_TOKENS_PER_STEP: usize = 1 << 22;

/// Size flags of a new model.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Model")]
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
    /// A [`UsageError`](experiment::program::UsageError) when a size is 0 or the heads do not
    /// divide the channels.
    pub fn config(&self) -> Result<GptConfig> {
        let Self { n_layer, n_head, n_embd, context_len, dropout } = *self;
        let is_valid = n_layer > 0 && context_len > 0;
        ensure_usage(is_valid, "--n-layer and --context-len must be at least 1")?;
        let mut config = GptConfig::byte_level(context_len, n_layer, n_head, n_embd);
        config.block.dropout = dropout;
        as_usage_error(config.block.check())?;
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

/// Training flags of a `train` command.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Optimization")]
pub struct TrainFlags {
    /// Number of optimizer steps
    #[arg(long, visible_alias = "max-steps", value_name = "N", default_value = "2000")]
    pub steps: NonZeroUsize,
    /// Passes over the training text, instead of --steps
    #[arg(
        long, visible_alias = "num-train-epochs", value_name = "X", value_parser = positive,
        allow_negative_numbers = true, conflicts_with = "steps"
    )]
    pub epochs: Option<f64>,
    /// Batch size in windows of text
    #[arg(
        long,
        visible_alias = "per-device-train-batch-size",
        value_name = "N",
        default_value = "32"
    )]
    pub batch_size: NonZeroUsize,
    /// Peak learning rate, reached after a linear warm-up
    #[arg(
        long, visible_alias = "learning-rate", value_name = "X", default_value_t = 3e-3,
        allow_negative_numbers = true, value_parser = positive
    )]
    pub lr: f64,
    /// Warm-up steps until the peak learning rate [default: a twentieth of the steps]
    #[arg(long, value_name = "N", conflicts_with = "warmup_ratio")]
    pub warmup_steps: Option<usize>,
    /// Warm-up as a share of the steps, instead of --warmup-steps
    #[arg(
        long, value_name = "P", value_parser = unit_interval, allow_negative_numbers = true
    )]
    pub warmup_ratio: Option<f64>,
    /// Learning-rate schedule after the warm-up
    #[arg(long, alias = "lr-decay", value_enum, default_value_t = LrDecay::Linear)]
    pub lr_scheduler: LrDecay,
    /// Schedule as in transformers: without warm-up, unless a flag says otherwise
    #[arg(long, value_enum, value_name = "LR_SCHEDULER", overrides_with = "lr_scheduler")]
    pub lr_scheduler_type: Option<LrDecay>,
    /// Number format of the computations, f32 or bf16; weights and optimizer state stay f32
    #[arg(long, alias = "torch-dtype", value_enum, default_value_t = Precision::F32)]
    pub dtype: Precision,
    /// Optimizer flags: AdamW's β₂ and weight decay, and gradient clipping.
    #[command(flatten)]
    pub optimizer: OptimizerFlags,
}

impl TrainFlags {
    /// Checks the flags, as far as they do not depend on the text, for windows of `context_len`
    /// tokens.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when a step would exceed any memory, the
    /// warm-up is longer than the run, or the number format needs loss scaling.
    pub fn check(&self, context_len: usize) -> Result<()> {
        let tokens = self.batch_size.get().saturating_mul(context_len);
        ensure_usage(
            tokens <= MAX_TOKENS_PER_STEP,
            format_args!(
                "--batch-size times --context-len must be at most {MAX_TOKENS_PER_STEP} tokens"
            ),
        )?;
        let message = "--dtype f16 needs the loss scaling of part 4: use bf16 here";
        ensure_usage(self.dtype != Precision::F16, message)?;
        match self.epochs {
            None => self.ensure_warmup_fits(self.steps.get()),
            Some(_) => Ok(()),
        }
    }

    fn ensure_warmup_fits(&self, steps: usize) -> Result<()> {
        let warmup_steps = self.warmup_steps.unwrap_or(0);
        let message =
            format!("--warmup-steps {warmup_steps} is more than the {steps} steps of the run");
        ensure_usage(warmup_steps <= steps, message)
    }

    /// Training configuration of these flags, for windows of `context_len` tokens of a text of
    /// `n_tokens` training tokens.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn config(
        &self,
        context_len: usize,
        n_tokens: usize,
        eval_interval: usize,
        samples: &SampleFlags,
    ) -> Result<TrainConfig> {
        self.check(context_len)?;
        let steps_per_epoch = n_tokens as f64 / (self.batch_size.get() * context_len) as f64;
        let steps_of = |epochs: f64| ((epochs * steps_per_epoch).ceil() as usize).max(1);
        let steps = self.epochs.map_or(self.steps.get(), steps_of);
        self.ensure_warmup_fits(steps)?;
        let warmup_of = |ratio: f64| (ratio * steps as f64).ceil() as usize;
        let default_warmup = if self.lr_scheduler_type.is_some() { 0 } else { steps / 20 };
        let default_warmup = self.warmup_ratio.map_or(default_warmup, warmup_of);
        Ok(TrainConfig {
            steps,
            warmup_steps: self.warmup_steps.unwrap_or(default_warmup),
            batch_size: self.batch_size.get(),
            lr: self.lr,
            lr_scheduler: self.lr_scheduler_type.unwrap_or(self.lr_scheduler),
            dtype: self.dtype,
            optimizer: self.optimizer.optimizer_config(),
            max_grad_norm: self.optimizer.max_grad_norm(),
            eval_interval,
            samples: samples.config(),
        })
    }
}

/// Validation and sampling flags of a `train` command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Run")]
pub struct ValidationFlags {
    /// Steps between evaluations on the validation text
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value = "200"
    )]
    pub eval_interval: NonZeroUsize,
    /// Samples that the run prints.
    #[command(flatten)]
    pub samples: SampleFlags,
}

/// Flags of the samples that a run prints.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct SampleFlags {
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

impl SampleFlags {
    /// Samples of these flags.
    pub fn config(&self) -> SampleConfig {
        SampleConfig {
            sample_interval: self.sample_interval,
            sample_len: self.sample_len,
            sampling: self.sampling.sampling(),
        }
    }
}
