//! Command-line flags of a training run, shared with later parts. Each flag is also a setting: a
//! key of `config.json`, of a YAML file (`--config`) and of `--set`.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{OptimizerFlags, Precision};
use experiment::number::{non_negative, positive};
use experiment::program::ensure_usage;
use serde::Serialize;

use crate::LrSchedule;
use crate::schedule::DecayShape;

/// Flags of the learning-rate schedule.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Optimization")]
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
        value_parser = positive
    )]
    pub lr: f64,
    /// Learning rate of the last step [default: --lr / 10]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub min_lr: Option<f64>,
    /// Warm-up steps until the peak learning rate [default: --steps / 20]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<usize>,
    /// Learning-rate schedule after the warm-up
    #[arg(
        long, visible_alias = "lr-scheduler-type", alias = "lr-decay", value_enum,
        default_value_t = DecayShape::Cosine
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
        ensure_usage(min_lr <= peak_lr, format!("--min-lr {min_lr} is above --lr {peak_lr}"))?;
        ensure_usage(
            warmup_steps <= total_steps,
            format!("--warmup-steps {warmup_steps} is more than --steps {total_steps}"),
        )?;
        Ok(LrSchedule { peak_lr, min_lr, warmup_steps, total_steps, decay: self.lr_scheduler })
    }
}

/// Flags of optimization: the schedule, and each optimizer step.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Optimization")]
pub struct OptimizationFlags {
    /// Flags of the learning-rate schedule.
    #[command(flatten)]
    pub schedule: ScheduleFlags,
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
    pub optimizer: OptimizerFlags,
}

impl OptimizationFlags {
    /// Checks the flags for parts that train in f32 without gradient checkpointing.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when `--dtype` or
    /// `--gradient-checkpointing` asks for something else.
    pub fn ensure_f32_without_checkpointing(&self) -> Result<()> {
        let is_f32 = self.dtype == Precision::F32;
        ensure_usage(is_f32, "--dtype: this part supports f32 only")?;
        let message = "--gradient-checkpointing: not supported by this part";
        ensure_usage(!self.gradient_checkpointing, message)
    }
}
