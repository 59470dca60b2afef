//! The command line of part 6.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use scaling::flags::{MetricsFlags, RunFlags, ScheduleFlags, StepFlags};
use serde::Serialize;
use tiny_gpt::flags::{ComputeFlags, probability};

use crate::arithmetic_questions::DemonstrationStyle;
use crate::flags::{BaseModelFlags, DataFlags, ExampleFlags, FinetunedFlags, LoraFlags};
use crate::{ChatFormat, Curriculum};

pub(crate) const DEFAULT_OUT: &str = "runs/sft";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Optimizer steps of pretraining
    #[arg(long, value_name = "N", default_value_t = 150)]
    pub(crate) base_steps: usize,
    /// Most optimizer steps of fine-tuning
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
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Examples whose gradient is computed at a time")))]
pub(crate) struct TrainArgs {
    /// A model folder in Hugging Face's layout, a .gguf file, a llama2.c .bin, or owner/name on the Hub [default: a small one is
    /// pretrained first]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) examples: ExampleFlags,
    /// How answers to arithmetic are demonstrated
    #[arg(long, alias = "demos", value_enum, default_value_t = DemonstrationStyle::Clean)]
    pub(crate) demonstrations: DemonstrationStyle,
    /// The run folder: settings, figures, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// How conversations are written [default: the model's own way, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    /// The order of the examples
    #[arg(long, value_enum, default_value_t = Curriculum::Shuffled)]
    pub(crate) curriculum: Curriculum,
    /// Pack examples behind each other, into rows of this many tokens [default: an example a row]
    #[arg(long, value_name = "T")]
    pub(crate) pack: Option<NonZeroUsize>,
    /// End when this share of the validation answers is exactly right
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(crate) stop_at: Option<f64>,
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

/// What is looked at during a run.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct ValidationFlags {
    /// Steps between two looks at the validation examples; 0 for one at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub(crate) eval_interval: usize,
    /// Most validation examples that are looked at
    #[arg(long, value_name = "N", default_value = "300")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Longest answer that is let be written, in tokens [default: 8 for arithmetic, else 64]
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
    /// The model before it was tuned [default: the model without its adapter, or the one that the run began with]
    #[arg(long, value_name = "MODEL")]
    pub(crate) base: Option<String>,
    /// A question; may be given several times [default: some of --data]
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// How many questions of --data
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub(crate) n: usize,
    /// Longest answer, in tokens
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
    /// Examples at a time
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Longest answer that is let be written, in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
