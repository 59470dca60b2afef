//! Command-line flags of a training run, shared with later parts. Each flag is also a setting: a
//! key of `config.json`, of a YAML file (`--config`) and of `--set`.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::flags::{MetricsFlags, OptimizerFlags, Precision, SaveFlags};
use experiment::number::{non_negative, positive};
use experiment::program::as_usage_error;
use serde::Serialize;
use tiny_gpt::flags::SamplingFlags;

use crate::LrSchedule;
use crate::schedule::DecayShape;
use crate::training::Intervals;

/// Flags of the learning-rate schedule.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ScheduleFlags {
    /// Number of optimizer steps
    #[arg(
        long,
        visible_alias = "max-steps",
        alias = "num-train-steps",
        value_name = "N",
        default_value = "1000"
    )]
    pub steps: NonZeroUsize,
    /// Peak learning rate
    #[arg(
        long, visible_alias = "learning-rate", value_name = "X", default_value_t = 3e-3,
        allow_negative_numbers = true, value_parser = positive
    )]
    pub lr: f64,
    /// Learning rate of the last step [default: --lr / 10]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = non_negative)]
    pub min_lr: Option<f64>,
    /// Warm-up steps until the peak learning rate [default: --steps / 20]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<usize>,
    /// Learning-rate schedule after the warm-up
    #[arg(
        long, visible_alias = "lr-scheduler-type", alias = "lr-decay",
        value_enum, default_value_t = DecayShape::Cosine
    )]
    pub lr_scheduler: DecayShape,
}

impl ScheduleFlags {
    /// Learning-rate schedule from the flags.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when the minimum is above the peak, or the
    /// warm-up is longer than the run.
    pub fn schedule(&self) -> Result<LrSchedule> {
        let (peak_lr, total_steps) = (self.lr, self.steps.get());
        let min_lr = self.min_lr.unwrap_or(peak_lr / 10.);
        let warmup_steps = self.warmup_steps.unwrap_or(total_steps / 20);
        as_usage_error((|| {
            ensure!(min_lr <= peak_lr, "--min-lr {min_lr} is above --lr {peak_lr}");
            ensure!(
                warmup_steps <= total_steps,
                "--warmup-steps {warmup_steps} is more than --steps {total_steps}"
            );
            Ok(())
        })())?;
        Ok(LrSchedule { peak_lr, min_lr, warmup_steps, total_steps, decay: self.lr_scheduler })
    }
}

/// Flags of an optimizer step.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct StepFlags {
    /// Sequences per micro-batch
    #[arg(
        long,
        visible_alias = "per-device-train-batch-size",
        value_name = "N",
        default_value = "16"
    )]
    pub batch_size: NonZeroUsize,
    /// Micro-batches per optimizer step
    #[arg(
        long,
        visible_alias = "gradient-accumulation-steps",
        alias = "accumulate",
        value_name = "N",
        default_value = "1"
    )]
    pub grad_accum_steps: NonZeroUsize,
    /// Number format of the computations; weights and optimizer state stay f32
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub dtype: Precision,
    /// Recompute each block's activations in the backward pass: less memory, a third more time
    #[arg(long, alias = "recompute")]
    pub gradient_checkpointing: bool,
    /// Flags of the optimizer.
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: OptimizerFlags,
}

impl StepFlags {
    /// Checks the flags for parts that train in f32 without gradient checkpointing.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when `--dtype` or `--gradient-checkpointing`
    /// asks for something else.
    pub fn ensure_f32_without_checkpointing(&self) -> Result<()> {
        as_usage_error((|| {
            ensure!(self.dtype == Precision::F32, "--dtype: this part supports f32 only");
            ensure!(
                !self.gradient_checkpointing,
                "--gradient-checkpointing: not supported by this part"
            );
            Ok(())
        })())
    }
}

/// Flags of logging, validation and samples.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct LogFlags {
    /// Flags of the metrics.
    #[command(flatten)]
    #[serde(flatten)]
    pub metrics: MetricsFlags,
    /// Steps between validations; 0 validates only at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub eval_interval: usize,
    /// Maximum number of validation windows
    #[arg(long, value_name = "N", default_value = "200")]
    pub eval_windows: NonZeroUsize,
    /// Steps between samples; 0 samples only at the end
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sample_interval: usize,
    /// Length of a sample in tokens
    #[arg(long, alias = "sample-tokens", value_name = "N", default_value_t = 128)]
    pub sample_len: usize,
    /// Flags of the sampling strategy.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingFlags,
}

impl LogFlags {
    /// Intervals of validation, samples and checkpoints, the latter from `save`.
    pub fn intervals(&self, save: &SaveFlags) -> Intervals {
        Intervals {
            eval: self.eval_interval,
            save: save.save_interval,
            sample: self.sample_interval,
        }
    }
}
