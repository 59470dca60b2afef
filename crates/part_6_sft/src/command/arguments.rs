//! Arguments of `part_6 train`, and the configurations that they describe.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use datasets::arithmetic_questions::DemonstrationStyle;
use experiment::flags::RunFlags;
use experiment::number::probability;
use scaling::flags::OptimizationFlags;
use serde::Serialize;

use crate::evaluation::GenerationEvalConfig;
use crate::flags::{DataFlags, ExampleFlags, ModelFlags};
use crate::{BatchLayout, Curriculum, TrainConfig};

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Data")]
#[command(mut_arg("lr", |arg| arg.default_value("1e-3")))]
#[command(mut_arg("beta2", |arg| arg.default_value("0.999")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.default_value("3000")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Examples per micro-batch")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/sft")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    pub(crate) examples: ExampleFlags,
    /// Style of the arithmetic demonstrations
    #[arg(long, alias = "demos", value_enum, default_value_t = DemonstrationStyle::Clean)]
    pub(crate) demonstrations: DemonstrationStyle,
    /// Order of the training examples
    #[arg(long, value_enum, default_value_t = Curriculum::Shuffled)]
    curriculum: Curriculum,
    /// Pack examples into rows of this many tokens [default: one example per row]
    #[arg(long, value_name = "T")]
    pack: Option<NonZeroUsize>,
    #[command(flatten)]
    optimization: OptimizationFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Maximum number of validation examples
    #[arg(long, value_name = "N", default_value = "300", help_heading = "Run")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Maximum completion length in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N", help_heading = "Run")]
    max_new_tokens: Option<usize>,
    /// Stop when the validation exact match reaches this share
    #[arg(
        long, alias = "stop-at", value_name = "P", value_parser = probability, help_heading = "Run"
    )]
    pub(crate) target_exact_match: Option<f64>,
}

impl TrainArgs {
    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn train_config(&self) -> Result<TrainConfig> {
        let step = &self.optimization;
        step.ensure_f32_without_checkpointing()?;
        self.model.lora.check()?;
        Ok(TrainConfig {
            batch_size: step.batch_size.get(),
            grad_accum_steps: step.grad_accum_steps.get(),
            curriculum: self.curriculum,
            batch_layout: self
                .pack
                .map_or(BatchLayout::Padded, |width| BatchLayout::Packed(width.get())),
            schedule: step.schedule.schedule()?,
            optimizer: step.optimizer.adamw_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            seed: self.run.compute.seed,
        })
    }

    /// Batch size and completion length of validations.
    pub(crate) fn eval_config(&self) -> GenerationEvalConfig {
        let default = self.data.default_max_new_tokens();
        GenerationEvalConfig {
            batch_size: self.optimization.batch_size.get(),
            max_new_tokens: self.max_new_tokens.unwrap_or(default),
        }
    }
}
