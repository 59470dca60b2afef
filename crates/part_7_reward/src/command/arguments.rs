//! The command line of part 7.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, value_parser};
use scaling::flags::{MetricsFlags, RunFlags, ScheduleFlags, StepFlags};
use serde::Serialize;
use sft::ChatFormat;
use sft::flags::{BaseModelFlags, DataFlags, LoraFlags};
use tiny_gpt::flags::{ComputeFlags, positive, probability};

use crate::flags::{LossFlags, PreferenceFlags, SplitFlags};
use crate::{PreferenceRule, RewardArchitecture};

pub(crate) const DEFAULT_OUT: &str = "runs/reward";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Optimizer steps of pretraining
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) base_steps: usize,
    /// Optimizer steps on preferences
    #[arg(long, value_name = "N", default_value = "60")]
    pub(crate) steps: NonZeroUsize,
    /// Where the picture of the rewards goes
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/rewards.png"
    )]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("lr", |arg| arg.default_value("5e-4")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.default_value("400")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Pairs whose gradient is computed at a time")))]
#[command(mut_arg("merge", |arg| arg.hide(true)))]
pub(crate) struct TrainArgs {
    /// A language model or a reward model: a folder, a run's folder, a .gguf file, or owner/name on the Hub [default: a small one
    /// is pretrained and taught sums first]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: PreferenceFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) split: SplitFlags,
    /// The run folder: settings, figures, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// How conversations are written [default: the model's own way, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    /// What tokens see, and where the score is read [default: causal, or that of the reward model]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<RewardArchitecture>,
    /// Longest text that is read, in tokens; longer ones lose their beginning [default: the model's context]
    #[arg(long, visible_alias = "max-length", alias = "block-size", value_name = "T")]
    pub(crate) context_len: Option<NonZeroUsize>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) loss: LossFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    /// End when this share of the validation pairs is told apart
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(crate) stop_at: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) base: BaseModelFlags,
    /// Without --model: optimizer steps of teaching the small one to answer sums
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pub(crate) sft_steps: usize,
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
    /// Steps between two looks at the validation pairs; 0 for one at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 100
    )]
    pub(crate) eval_interval: usize,
    /// Most validation pairs that are looked at
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) eval_pairs: NonZeroUsize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) metrics: MetricsFlags,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// A reward model: a folder, a run's folder, or owner/name on the Hub
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: String,
    /// As for `train` [default: what the run that made the model has not learned from; of other models, arithmetic]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    /// Which columns hold what, as prompt=A,chosen=B,rejected=C [default: by those names]
    #[arg(long, value_name = "MAP", requires = "data")]
    pub(crate) columns: Option<String>,
    /// Most pairs that are measured, drawn by --seed [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) n: Option<NonZeroUsize>,
    /// Texts at a time
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Draw how the rewards are spread, as a PNG
    #[arg(long, value_name = "FILE")]
    pub(crate) histogram: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CollectArgs {
    /// The model that answers: a folder, a run's folder, a .gguf file, a llama2.c .bin, or owner/name on the Hub
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: String,
    /// Where the questions come from
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Most questions that are asked
    #[arg(long, alias = "questions", value_name = "N", default_value = "100")]
    pub(crate) prompts: NonZeroUsize,
    /// Answers to each, up to 64; the better one of two meets the next
    #[arg(long, visible_alias = "num-generations", alias = "samples", value_name = "N", default_value = "2", value_parser = value_parser!(u8).range(2..=64))]
    pub(crate) group_size: u8,
    /// Decide by a rule [default: ask on the terminal]
    #[arg(long, value_enum)]
    pub(crate) rule: Option<PreferenceRule>,
    /// The file that grows by a row per decision; an existing one is continued
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/preferences.jsonl"
    )]
    pub(crate) out: PathBuf,
    /// How conversations are written [default: as the model's files say, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    /// Below 1 likelier tokens, above 1 wilder ones
    #[arg(long, value_name = "T", default_value_t = 1., allow_negative_numbers = true, value_parser = positive)]
    pub(crate) temperature: f64,
    /// Longest answer, in tokens; answers that do not end within it are left out
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) max_new_tokens: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}
