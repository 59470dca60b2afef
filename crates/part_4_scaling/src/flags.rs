//! Command-line flags of a training run, shared with later parts. Each flag is also a setting: a
//! key of `config.json`, of a YAML file (`--config`) and of `--set`.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{OptimizerFlags, Precision};
use experiment::number::{non_negative, positive, unit_interval};
use experiment::program::ensure_usage;
use serde::Serialize;

use crate::schedule::DecayShape;
use crate::{LrSchedule, RunDefaults};

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
        conflicts_with = "epochs"
    )]
    pub steps: Option<NonZeroUsize>,
    /// Passes over the training data, instead of --steps
    #[arg(long, visible_alias = "num-train-epochs", value_name = "X", value_parser = positive)]
    pub epochs: Option<f64>,
    /// Peak learning rate
    #[arg(long, visible_alias = "learning-rate", value_name = "X", value_parser = positive)]
    pub lr: Option<f64>,
    /// Learning rate of the last step [default: --lr / 10; 0 with --lr-scheduler-type]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub min_lr: Option<f64>,
    /// Warm-up steps until the peak learning rate [default: a twentieth of the steps; 0 with
    /// --lr-scheduler-type]
    #[arg(long, value_name = "N", conflicts_with = "warmup_ratio")]
    pub warmup_steps: Option<usize>,
    /// Warm-up as a share of the steps, instead of --warmup-steps
    #[arg(long, value_name = "P", value_parser = unit_interval)]
    pub warmup_ratio: Option<f64>,
    /// Learning-rate schedule after the warm-up
    #[arg(long, alias = "lr-decay", value_enum, default_value_t = DecayShape::Cosine)]
    pub lr_scheduler: DecayShape,
    /// Schedule as in transformers: without warm-up, and down to 0, unless flags say otherwise
    #[arg(long, value_enum, value_name = "LR_SCHEDULER", overrides_with = "lr_scheduler")]
    pub lr_scheduler_type: Option<DecayShape>,
}

impl ScheduleFlags {
    /// Learning-rate schedule from the flags, and from `defaults` where they leave it open.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when the minimum is above the peak, or the
    /// warm-up is longer than the run.
    pub fn schedule(&self, defaults: &RunDefaults) -> Result<LrSchedule> {
        let total_steps = self.steps.map_or(defaults.steps(self.epochs), NonZeroUsize::get);
        let peak_lr = self.lr.unwrap_or(defaults.lr);
        self.ensure_consistent(Some(peak_lr), Some(total_steps))?;
        let (decay, default_min_lr, default_warmup) = match self.lr_scheduler_type {
            Some(decay) => (decay, 0., 0), // transformers' defaults
            None => (self.lr_scheduler, peak_lr / 10., total_steps / 20),
        };
        let warmup = |ratio: f64| (ratio * total_steps as f64).ceil() as usize;
        let default_warmup = self.warmup_ratio.map_or(default_warmup, warmup);
        Ok(LrSchedule {
            peak_lr,
            min_lr: self.min_lr.unwrap_or(default_min_lr),
            warmup_steps: self.warmup_steps.unwrap_or(default_warmup),
            total_steps,
            decay,
        })
    }

    /// Checks the flags before the model and the data are read, on which the defaults may depend;
    /// `default_lr` is that of the learning rate, if it does not.
    ///
    /// # Errors
    /// Those of [`schedule`](Self::schedule).
    pub fn check(&self, default_lr: Option<f64>) -> Result<()> {
        self.ensure_consistent(self.lr.or(default_lr), self.steps.map(NonZeroUsize::get))
    }

    fn ensure_consistent(&self, peak_lr: Option<f64>, total_steps: Option<usize>) -> Result<()> {
        if let (Some(min_lr), Some(lr)) = (self.min_lr, peak_lr) {
            let message = format!("--min-lr {min_lr} is above the learning rate of {lr}");
            ensure_usage(min_lr <= lr, message)?;
        }
        if let (Some(warmup), Some(steps)) = (self.warmup_steps, total_steps) {
            let message =
                format!("--warmup-steps {warmup} is more than the {steps} steps of the run");
            ensure_usage(warmup <= steps, message)?;
        }
        Ok(())
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
    #[arg(long, visible_alias = "per-device-train-batch-size", value_name = "N")]
    pub batch_size: Option<NonZeroUsize>,
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
    #[arg(long, alias = "torch-dtype", value_enum, default_value_t = Precision::F32)]
    pub dtype: Precision,
    /// Recompute each block's activations in the backward pass: less memory, a third more time
    #[arg(long, alias = "recompute")]
    pub gradient_checkpointing: bool,
    /// Flags of the optimizer.
    #[command(flatten)]
    pub optimizer: OptimizerFlags,
}

impl OptimizationFlags {
    /// Checks the schedule and the number format of a run without a default learning rate and
    /// without loss scaling.
    ///
    /// # Errors
    /// A usage error when flags contradict each other.
    pub fn check(&self) -> Result<()> {
        self.dtype.ensure_unscaled()?;
        self.schedule.check(None)
    }

    /// Sequences per micro-batch, `default` without the flag.
    pub fn batch_size(&self, default: usize) -> usize {
        self.batch_size.map_or(default, NonZeroUsize::get)
    }

    /// Optimizer steps of a pass over data of `n_batches` micro-batches; a fraction where the next
    /// pass begins within a step.
    pub fn steps_per_epoch(&self, n_batches: f64) -> f64 {
        n_batches / self.grad_accum_steps.get() as f64
    }
}
