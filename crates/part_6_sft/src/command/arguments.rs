//! Arguments of `part_6 train`, and the configurations that they describe.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use datasets::arithmetic_questions::DemonstrationStyle;
use experiment::flags::{RunFlags, without_f16};
use experiment::number::probability;
use experiment::program::ensure_usage;
use scaling::flags::OptimizationFlags;
use scaling::{DefaultLength, DefaultLr, RunDefaults};
use serde::Serialize;

use crate::evaluation::GenerationEvalConfig;
use crate::flags::{DataFlags, ExampleFlags, ensure_shares_of_file};
use crate::model_flags::ModelFlags;
use crate::{BatchLayout, Curriculum, TokenizedExample, TrainConfig};

/// Learning rates without --lr; those of a pretrained model are TRL's.
const LR: DefaultLr =
    DefaultLr { small: 1e-3, small_lora: 1e-3, pretrained: 2e-5, pretrained_lora: 2e-4 };
/// Length of a run without --steps and --epochs.
const LENGTH: DefaultLength =
    DefaultLength { epochs: 3., min_steps: 50, max_steps: 3000, max_eval_interval: 200 };

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Data")]
#[command(mut_arg("dtype", without_f16))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 0.001; from 20 million \
    parameters on 2e-5, or 2e-4 for adapters]")))]
#[command(mut_arg("beta2", |arg| arg.default_value("0.999")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.help("Number of optimizer steps [default: three epochs, but \
    at least 50 and at most 3000]")))]
#[command(mut_arg("batch_size", |arg| arg.help("Examples per micro-batch [default: 8; 64 for \
    arithmetic]")))]
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
    /// Maximum length of an example in tokens, which bounds the memory of a step; longer examples
    /// are truncated, texts are cut into several [default: the model's context]
    #[arg(long, visible_alias = "max-seq-length", value_name = "T")]
    pub(crate) max_length: Option<NonZeroUsize>,
    /// Pack examples into rows of this many tokens [default: one example per row]
    #[arg(long, value_name = "T")]
    pack: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) optimization: OptimizationFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Maximum number of validation examples
    #[arg(long, value_name = "N", default_value = "300", help_heading = "Run")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Maximum completion length in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, alias = "max-completion-length", value_name = "N", help_heading = "Run")]
    max_new_tokens: Option<usize>,
    /// Stop when the validation exact match reaches this share
    #[arg(
        long, alias = "stop-at", value_name = "P", value_parser = probability, help_heading = "Run"
    )]
    pub(crate) target_exact_match: Option<f64>,
}

impl TrainArgs {
    /// Checks the arguments, as far as they do not depend on the model and the data.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        self.optimization.check()?;
        self.model.lora.check()?;
        let is_file = self.data.data != "arithmetic";
        let settings = &self.run.settings;
        ensure_shares_of_file(is_file, self.examples.validation, None, settings)?;
        self.examples.check(&self.data.data, settings)?;
        let is_noisy = self.demonstrations == DemonstrationStyle::Noisy && !settings.are_read();
        ensure_usage(
            !is_noisy || !is_file,
            "--demonstrations is for arithmetic, which is generated; other data have rows",
        )?;
        ensure_usage(
            self.max_length.is_none_or(|length| length.get() > 1),
            "--max-length 1: an example has more than one token",
        )?;
        ensure_usage(
            self.pack.is_none_or(|width| width.get() > 1),
            "--pack 1: an example has more than one token",
        )
    }

    /// Checks that each of the `examples` fits into a row of `--pack` tokens: a longer one would be
    /// a row of its own, and would set the length of all. A resumed run goes on as it began.
    ///
    /// # Errors
    /// When an example is longer.
    pub(crate) fn ensure_examples_fit_row(&self, examples: &[TokenizedExample]) -> Result<()> {
        let Some(width) = self.pack.map(NonZeroUsize::get) else { return Ok(()) };
        let longest = examples.iter().map(|example| example.inputs().len()).max().unwrap_or(0);
        ensure!(
            longest <= width || self.run.settings.resume,
            "--pack {width}: the longest example takes {longest} tokens of a row; give at least as \
             many, or truncate the examples with --max-length {}",
            width + 1
        );
        Ok(())
    }

    /// Defaults of a run of a model with `n_parameters` parameters on `n_examples` examples.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_examples: usize) -> RunDefaults {
        let n_batches = n_examples.div_ceil(self.batch_size()) as f64;
        RunDefaults {
            lr: LR.of(n_parameters, self.model.lora.lora_rank),
            steps_per_epoch: self.optimization.steps_per_epoch(n_batches),
            length: LENGTH,
        }
    }

    /// Examples per micro-batch: few of a file, which has few rows, and many of a task that
    /// generates any number.
    fn batch_size(&self) -> usize {
        self.optimization.batch_size(if self.data.data == "arithmetic" { 64 } else { 8 })
    }

    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When the schedule is impossible.
    pub(crate) fn train_config(&self, defaults: &RunDefaults) -> Result<TrainConfig> {
        let step = &self.optimization;
        Ok(TrainConfig {
            batch_size: self.batch_size(),
            grad_accum_steps: step.grad_accum_steps.get(),
            curriculum: self.curriculum,
            batch_layout: self
                .pack
                .map_or(BatchLayout::Padded, |width| BatchLayout::Packed(width.get())),
            schedule: step.schedule.schedule(defaults)?,
            optimizer: step.optimizer.optimizer_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            seed: self.run.compute.seed,
        })
    }

    /// Batch size and completion length of validations.
    pub(crate) fn eval_config(&self) -> GenerationEvalConfig {
        let default = self.data.default_max_new_tokens();
        GenerationEvalConfig {
            batch_size: self.batch_size(),
            max_new_tokens: self.max_new_tokens.unwrap_or(default),
            max_length: self.max_length.map(NonZeroUsize::get),
        }
    }
}
