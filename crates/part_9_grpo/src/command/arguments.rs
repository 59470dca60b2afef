//! Command line of part 9.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::{ComputeFlags, MetricsFlags, OptimizerFlags, RunFlags};
use scaling::flags::ScheduleFlags;
use serde::Serialize;
use sft::ChatFormat;
use sft::flags::{FinetunedFlags, LoraFlags};

use crate::flags::{GrpoObjectiveFlags, GrpoRolloutFlags};
use crate::task_flags::TaskFlags;

pub(crate) const DEFAULT_OUT: &str = "runs/grpo";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// SFT steps on demonstrations, some of them with a bad habit
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) sft_steps: NonZeroUsize,
    /// GRPO steps
    #[arg(long, value_name = "N", default_value = "60")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct TableArgs {
    /// Model that every run starts from: a run folder of part 6, or a model folder
    #[arg(long, visible_alias = "model-name-or-path", alias = "model-name", value_name = "MODEL")]
    pub(crate) model: String,
    /// Runs per algorithm
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) seeds: NonZeroUsize,
    /// Tokens that each run samples
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(crate) tokens: NonZeroUsize,
    /// Peak learning rate
    #[arg(
        long, value_name = "X", default_value_t = 2e-4, allow_negative_numbers = true,
        value_parser = experiment::number::positive
    )]
    pub(crate) lr: f64,
    /// Folder of the results and curves; finished runs in it are not repeated
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/table")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("steps", |arg| arg.default_value("100").alias("steps-per-iteration")))]
#[command(mut_arg("lr", |arg| arg.default_value("2e-4")))]
#[command(mut_arg("warmup_steps", |arg| {
    arg.help("Warmup steps up to the peak learning rate [default: a twentieth of --steps]")
}))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("beta2", |arg| arg.default_value("0.95")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("5")))]
pub(crate) struct TrainArgs {
    /// Initial policy: a run folder of part 6, a model folder, a .gguf file, or owner/name on the
    /// Hub
    #[arg(long, visible_alias = "model-name-or-path", alias = "model-name", value_name = "MODEL")]
    pub(crate) model: String,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) task: TaskFlags,
    /// Run folder: settings, metrics, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// Chat format [default: the model's chat template, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) rollout: GrpoRolloutFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) objective: GrpoObjectiveFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) schedule: ScheduleFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) step: GrpoStepFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) run: RunFlags,
}

/// Flags of an optimizer step.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct GrpoStepFlags {
    /// Prompts per step
    #[arg(long, alias = "batch-prompts", value_name = "N", default_value = "64")]
    pub(crate) batch_size: NonZeroUsize,
    /// Prompts per micro-batch: the gradient is accumulated over them
    #[arg(long, alias = "micro-batch", value_name = "N", default_value = "32")]
    pub(crate) micro_batch_size: NonZeroUsize,
    /// Optimizer steps on each batch of rollouts (μ)
    #[arg(long, visible_alias = "mu", value_name = "N", default_value = "1")]
    pub(crate) num_iterations: NonZeroUsize,
    /// AdamW and gradient clipping.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) optimizer: OptimizerFlags,
}

/// Validation and logging flags of a run.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct ValidationFlags {
    /// Steps between validations; 0: only one at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 20
    )]
    pub(crate) eval_interval: usize,
    /// Largest number of validation problems
    #[arg(long, aliases = ["eval-problems", "n"], value_name = "N", default_value = "200")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Validation problems, a file as --data [default: the task's own, or a tenth of --data]
    #[arg(long, value_name = "DATA")]
    pub(crate) eval_file: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) metrics: MetricsFlags,
}

#[derive(Args)]
#[command(args_override_self = true)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) finetuned: FinetunedFlags,
    /// Reference model [default: the run's base model]
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) task: TaskFlags,
    /// Largest number of problems
    #[arg(long, aliases = ["eval-problems", "n"], value_name = "N")]
    pub(crate) eval_examples: Option<NonZeroUsize>,
    /// Completions sampled per problem for pass@k
    #[arg(
        long, visible_alias = "num-generations", aliases = ["samples", "num-samples"],
        value_name = "N", default_value = "8"
    )]
    pub(crate) group_size: NonZeroUsize,
    /// k of pass@k
    #[arg(long, value_name = "K", default_value = "8")]
    pub(crate) k: NonZeroUsize,
    /// Sampling temperature for pass@k
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = experiment::number::positive
    )]
    pub(crate) temperature: f64,
    /// Completions per batch
    #[arg(long, alias = "batch-prompts", value_name = "N", default_value = "64")]
    pub(crate) batch_size: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
