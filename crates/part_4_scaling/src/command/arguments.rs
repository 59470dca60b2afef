//! Arguments of `part_4 train`, and the configurations that they describe.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use experiment::flags::RunFlags;
use experiment::number::probability;
use experiment::program::{as_usage_error, ensure_usage};
use model_io::ModelConfig;
use modern::flags::{RefusedAdapterFlag, byte_level_config};
use serde::Serialize;
use tiny_gpt::flags::{ModelSizeFlags, SamplingFlags};

use crate::evaluation::{LmEvalConfig, ValidationConfig};
use crate::flags::OptimizationFlags;
use crate::{DefaultLength, DefaultLr, RunDefaults, TrainConfig};

/// Maximum tokens of a micro-batch; more would not fit in any memory.
const MAX_TOKENS_PER_MICRO_BATCH: usize = 1 << 22;
/// Sequences per micro-batch without --batch-size.
const BATCH_SIZE: usize = 16;
/// Length of a run without --steps and --epochs.
const LENGTH: DefaultLength =
    DefaultLength { epochs: 10., min_steps: 100, max_steps: 1000, max_eval_interval: 200 };
/// Learning rate without --lr.
const LR: f64 = 3e-3;
/// Learning rates of continued pretraining, which must not undo what the model has learned.
const LR_CONTINUED: DefaultLr =
    DefaultLr { small: 1e-3, small_lora: 1e-3, pretrained: 1e-4, pretrained_lora: 1e-4 };
/// Blocks, heads and channels of a new model without flags.
const DEFAULT_SIZES: [usize; 3] = [4, 4, 256];
/// Maximum micro-batches of a step: all are loaded before the first is computed.
const MAX_GRAD_ACCUM_STEPS: usize = 1 << 12;

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Data")]
#[command(mut_arg("steps", |arg| arg.help("Number of optimizer steps [default: ten epochs, but at \
    least 100 and at most 1000]")))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 0.003; with --model 0.001, \
    or 1e-4 from 20 million parameters on]")))]
#[command(mut_arg("batch_size", |arg| arg.help("Sequences per micro-batch [default: 16]")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/scaling").help("Run folder: settings, \
    metrics, tokens, checkpoints and the best model")))]
pub(crate) struct TrainArgs {
    /// Text file (<|endoftext|> between documents), folder of .txt files, .json, .jsonl or .parquet
    /// file with the column `text` (.gz too), or data folder of a run
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Folder with a tokenizer.json [default: train one on the text]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Maximum vocabulary size of the trained tokenizer; 261 is bytes alone
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    /// Fraction of the documents held out for validation (at least one), or of a single document
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = probability)]
    pub(crate) validation: f64,
    /// Continue the pretraining of this model, with its tokenizer: a model folder, .gguf, or
    /// owner/name on the Hub; --context-len is then the length of the windows [default: a new
    /// model]
    #[arg(
        long,
        visible_alias = "model-name-or-path",
        value_name = "MODEL",
        help_heading = "Model"
    )]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    #[serde(skip)]
    refused_adapter: RefusedAdapterFlag,
    #[command(flatten, next_help_heading = "Model")]
    pub(crate) size: ModelSizeFlags,
    /// Number of key/value heads (grouped-query attention) [default: --n-head]
    #[arg(long, value_name = "N", help_heading = "Model")]
    n_kv_head: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(super) optimization: OptimizationFlags,
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

    /// Checks the arguments, as far as they do not depend on the data.
    ///
    /// # Errors
    /// When a step would exceed any memory, or the schedule is invalid.
    pub(crate) fn check(&self) -> Result<()> {
        self.refused_adapter.check()?;
        let ModelSizeFlags { n_layer, n_head, n_embd, .. } = self.size;
        let has_default_sizes = [n_layer, n_head, n_embd] == DEFAULT_SIZES;
        ensure_usage(
            self.model.is_none() || has_default_sizes && self.n_kv_head.is_none(),
            "--n-layer, --n-head, --n-kv-head and --n-embd are those of a new model, and this run \
             has --model",
        )?;
        let step = &self.optimization;
        let (batch_size, grad_accum_steps) = (self.batch_size(), step.grad_accum_steps.get());
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
        step.schedule.check(self.model.is_none().then_some(LR))
    }

    fn batch_size(&self) -> usize {
        self.optimization.batch_size(BATCH_SIZE)
    }

    /// Defaults of a run of a model with `n_parameters` parameters on `n_tokens` tokens.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_tokens: usize) -> RunDefaults {
        let n_windows = n_tokens.saturating_sub(1).div_ceil(self.size.context_len);
        let n_batches = n_windows as f64 / self.batch_size() as f64; // batches go on across epochs
        let steps_per_epoch = self.optimization.steps_per_epoch(n_batches);
        let lr = if self.model.is_some() { LR_CONTINUED.of(n_parameters, None) } else { LR };
        RunDefaults { lr, steps_per_epoch, length: LENGTH }
    }

    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When the schedule is invalid.
    pub(crate) fn train_config(&self, defaults: &RunDefaults) -> Result<TrainConfig> {
        let step = &self.optimization;
        Ok(TrainConfig {
            batch_size: self.batch_size(),
            grad_accum_steps: step.grad_accum_steps.get(),
            schedule: step.schedule.schedule(defaults)?,
            optimizer: step.optimizer.optimizer_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            dropout: self.size.dropout,
            dtype: step.dtype.dtype(),
            gradient_checkpointing: step.gradient_checkpointing.into(),
            seed: self.run.compute.seed,
        })
    }

    /// Validations and samples during the run, by default with this interval between validations.
    pub(crate) fn validation_config(&self, eval_interval: usize) -> ValidationConfig {
        let batch_size = self.batch_size();
        ValidationConfig {
            eval_interval: self.run.metrics.eval_interval.unwrap_or(eval_interval),
            eval_config: LmEvalConfig {
                batch_size,
                max_windows: Some(self.eval_windows.get()),
                window_len: Some(self.size.context_len),
            },
            sample_interval: self.sample_interval,
            sampling: self.sampling.sampling(),
            sample_len: self.sample_len,
        }
    }
}
