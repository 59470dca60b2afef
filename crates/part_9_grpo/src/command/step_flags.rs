//! Flags of an optimizer step: its prompts, its micro-batches, and its optimizer.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{OptimizerFlags, Precision};
use experiment::program::ensure_usage;
use serde::Serialize;

/// Flags of an optimizer step.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Optimization")]
pub(crate) struct GrpoStepFlags {
    /// Prompts per step [default: 64]
    #[arg(long, alias = "batch-prompts", value_name = "N")]
    batch_size: Option<NonZeroUsize>,
    /// Prompts per micro-batch: the gradient is accumulated over them
    #[arg(long, alias = "micro-batch", value_name = "N", default_value = "32")]
    micro_batch_size: NonZeroUsize,
    /// Completions per micro-batch, as in TRL: --micro-batch-size times --group-size
    #[arg(long, value_name = "N")]
    per_device_train_batch_size: Option<NonZeroUsize>,
    /// Micro-batches per step, as in TRL: --batch-size over --micro-batch-size
    #[arg(long, value_name = "N")]
    gradient_accumulation_steps: Option<NonZeroUsize>,
    /// Optimizer steps on each batch of rollouts (μ)
    #[arg(long, visible_alias = "mu", value_name = "N", default_value = "1")]
    pub(crate) num_iterations: NonZeroUsize,
    /// Number format of the computations; weights and optimizer state stay f32
    #[arg(long, alias = "torch-dtype", value_enum, default_value_t = Precision::F32)]
    pub(crate) dtype: Precision,
    /// Recompute each block's activations in the backward pass: less memory, a third more time
    #[arg(long, alias = "recompute")]
    pub(crate) gradient_checkpointing: bool,
    /// AdamW and gradient clipping.
    #[command(flatten)]
    pub(crate) optimizer: OptimizerFlags,
}

impl GrpoStepFlags {
    /// Prompts per micro-batch, with groups of this size.
    pub(super) fn micro_batch_size(&self, group_size: usize) -> usize {
        let completions = self.per_device_train_batch_size.map(|n| n.get() / group_size);
        completions.unwrap_or(self.micro_batch_size.get())
    }

    /// Prompts per step, with groups of this size.
    pub(super) fn batch_size(&self, group_size: usize) -> usize {
        let micro_batch_size = self.micro_batch_size(group_size);
        match (self.gradient_accumulation_steps, self.per_device_train_batch_size) {
            (Some(n), _) => micro_batch_size.saturating_mul(n.get()),
            (None, Some(_)) => micro_batch_size, // TRL's default is one micro-batch
            (None, None) => self.batch_size.map_or(64, NonZeroUsize::get),
        }
    }

    /// Checks the number format, that micro-batches have whole groups, and that --batch-size, if it
    /// is given, is the number of prompts that TRL's flags set.
    ///
    /// # Errors
    /// A usage error that names the flag.
    pub(super) fn check(&self, group_size: usize) -> Result<()> {
        self.dtype.ensure_unscaled()?;
        let completions = self.per_device_train_batch_size.map_or(0, NonZeroUsize::get);
        ensure_usage(
            completions.is_multiple_of(group_size),
            format!(
                "--per-device-train-batch-size {completions} is not a multiple of the \
                 {group_size} completions of a group"
            ),
        )?;
        let prompts = self.batch_size(group_size);
        let given = self.batch_size.map_or(prompts, NonZeroUsize::get);
        ensure_usage(
            given == prompts,
            format!(
                "--batch-size {given}, but the micro-batches of a step have {prompts} prompts: \
                 there is one optimizer step per batch of rollouts and iteration"
            ),
        )
    }
}
