//! Arguments of `part_4 train`, and the configurations that they describe.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use experiment::flags::RunFlags;
use experiment::number::probability;
use experiment::program::{as_usage_error, ensure_usage};
use model_io::ModelConfig;
use modern::GradientCheckpointing;
use modern::flags::byte_level_config;
use serde::Serialize;
use tiny_gpt::flags::{ModelSizeFlags, SamplingFlags};

use crate::TrainConfig;
use crate::evaluation::{LmEvalConfig, ValidationConfig};
use crate::flags::OptimizationFlags;

/// Maximum tokens of a micro-batch; more would not fit in any memory.
const MAX_TOKENS_PER_MICRO_BATCH: usize = 1 << 22;
/// Maximum micro-batches of a step: all are loaded before the first is computed.
const MAX_GRAD_ACCUM_STEPS: usize = 1 << 12;

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Data")]
#[command(mut_arg("out", |arg| arg.default_value("runs/scaling").help("Run folder: settings, \
    metrics, tokens, checkpoints and the best model")))]
pub(crate) struct TrainArgs {
    /// Text file (<|endoftext|> between documents), folder of .txt files, or data folder of a run
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Folder with a tokenizer.json [default: train one on the text]
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Maximum vocabulary size of the trained tokenizer
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    /// Fraction of the documents held out for validation (at least one document)
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = probability)]
    pub(crate) validation: f64,
    #[command(flatten, next_help_heading = "Model")]
    size: ModelSizeFlags,
    /// Number of key/value heads (grouped-query attention) [default: --n-head]
    #[arg(long, value_name = "N", help_heading = "Model")]
    n_kv_head: Option<NonZeroUsize>,
    #[command(flatten)]
    optimization: OptimizationFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Maximum number of validation windows
    #[arg(long, value_name = "N", default_value = "200", help_heading = "Run")]
    eval_windows: NonZeroUsize,
    /// Steps between samples; 0 samples only at the end
    #[arg(long, value_name = "N", default_value_t = 200, help_heading = "Run")]
    sample_interval: usize,
    /// Length of a sample in tokens
    #[arg(
        long,
        alias = "sample-tokens",
        value_name = "N",
        default_value_t = 128,
        help_heading = "Run"
    )]
    sample_len: usize,
    #[command(flatten, next_help_heading = "Run")]
    sampling: SamplingFlags,
}

impl TrainArgs {
    /// Model configuration. Its vocabulary size is set once the tokenizer is known.
    ///
    /// # Errors
    /// When the sizes do not fit each other.
    pub(crate) fn model_config(&self) -> Result<ModelConfig> {
        let mut model = byte_level_config(&self.size)?;
        if let Some(n_kv_head) = self.n_kv_head {
            model.attention.n_kv_head = n_kv_head.get();
        }
        as_usage_error(model.validate())?;
        Ok(model)
    }

    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When a step would exceed any memory, or the schedule is invalid.
    pub(crate) fn train_config(&self) -> Result<TrainConfig> {
        let step = &self.optimization;
        let (batch_size, grad_accum_steps) = (step.batch_size.get(), step.grad_accum_steps.get());
        let (n_tokens, max_tokens) =
            (batch_size.saturating_mul(self.size.context_len), MAX_TOKENS_PER_MICRO_BATCH);
        ensure_usage(
            n_tokens <= max_tokens,
            format!("--batch-size times --context-len must be at most {max_tokens} tokens"),
        )?;
        ensure_usage(
            grad_accum_steps <= MAX_GRAD_ACCUM_STEPS,
            format!("--grad-accum-steps must be at most {MAX_GRAD_ACCUM_STEPS}"),
        )?;
        Ok(TrainConfig {
            batch_size,
            grad_accum_steps,
            schedule: step.schedule.schedule()?,
            optimizer: step.optimizer.adamw_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            dropout: self.size.dropout,
            dtype: step.dtype.dtype(),
            gradient_checkpointing: match step.gradient_checkpointing {
                true => GradientCheckpointing::On,
                false => GradientCheckpointing::Off,
            },
            seed: self.run.compute.seed,
        })
    }

    /// Validations and samples during the run.
    pub(crate) fn validation_config(&self) -> ValidationConfig {
        let batch_size = self.optimization.batch_size.get();
        ValidationConfig {
            eval_interval: self.run.metrics.eval_interval,
            eval_config: LmEvalConfig { batch_size, max_windows: Some(self.eval_windows.get()) },
            sample_interval: self.sample_interval,
            sampling: self.sampling.sampling(),
            sample_len: self.sample_len,
        }
    }
}
