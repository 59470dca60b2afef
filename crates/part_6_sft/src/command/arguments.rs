//! Command-line arguments of part 6.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::{ComputeFlags, MetricsFlags, RunFlags};
use experiment::number::probability;
use scaling::flags::{ScheduleFlags, StepFlags};
use serde::Serialize;

use crate::arithmetic_questions::DemonstrationStyle;
use crate::flags::{BaseModelFlags, DataFlags, ExampleFlags, FinetunedFlags, LoraFlags};
use crate::{ChatFormat, Curriculum};

pub(crate) const DEFAULT_OUT: &str = "runs/sft";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Optimizer steps of pretraining
    #[arg(long, value_name = "N", default_value_t = 150)]
    pub(crate) base_steps: usize,
    /// Maximum optimizer steps of fine-tuning
    #[arg(long, value_name = "N", default_value = "1200")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("lr", |arg| arg.default_value("1e-3")))]
#[command(mut_arg("beta2", |arg| arg.default_value("0.999")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.default_value("3000")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Examples per micro-batch")))]
pub(crate) struct TrainArgs {
    /// Model folder, .gguf, llama2.c .bin, or owner/name on the Hub [default: pretrain a small one]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) examples: ExampleFlags,
    /// Style of the arithmetic demonstrations
    #[arg(long, alias = "demos", value_enum, default_value_t = DemonstrationStyle::Clean)]
    pub(crate) demonstrations: DemonstrationStyle,
    /// Run folder: settings, metrics, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// Chat template [default: the model's own, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    /// Order of the training examples
    #[arg(long, value_enum, default_value_t = Curriculum::Shuffled)]
    pub(crate) curriculum: Curriculum,
    /// Pack examples into rows of this many tokens [default: one example per row]
    #[arg(long, value_name = "T")]
    pub(crate) pack: Option<NonZeroUsize>,
    /// Stop when the validation exact match reaches this share
    #[arg(long, alias = "stop-at", value_name = "P", value_parser = probability)]
    pub(crate) target_exact_match: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) base: BaseModelFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) schedule: ScheduleFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) step: StepFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) run: RunFlags,
}

/// Validation during a run.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct ValidationFlags {
    /// Steps between validations; 0 validates only before and after training
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub(crate) eval_interval: usize,
    /// Maximum number of validation examples
    #[arg(long, value_name = "N", default_value = "300")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Maximum completion length in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) metrics: MetricsFlags,
}

#[derive(Args)]
pub(crate) struct SampleArgs {
    #[command(flatten)]
    pub(crate) finetuned: FinetunedFlags,
    /// Base model to compare with [default: the model without its adapter, or the run's base model]
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<String>,
    /// Prompt, may be repeated [default: the first --n prompts of --data]
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Number of prompts from --data
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) n: usize,
    /// Maximum completion length in tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) finetuned: FinetunedFlags,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Examples per batch
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Maximum completion length in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the metrics as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
