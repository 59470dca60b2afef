//! Command-line arguments of part 7.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, value_parser};
use experiment::flags::{ComputeFlags, MetricsFlags, RunFlags};
use experiment::number::{positive, probability};
use scaling::flags::{ScheduleFlags, StepFlags};
use serde::Serialize;
use sft::ChatFormat;
use sft::flags::{BaseModelFlags, DataFlags, LoraFlags};

use crate::flags::{LossFlags, PreferenceFlags, SplitFlags};
use crate::{PreferenceRule, RewardArchitecture};

pub(crate) const DEFAULT_OUT: &str = "runs/reward";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Pretraining steps of the base model
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) base_steps: usize,
    /// Training steps on preferences
    #[arg(long, value_name = "N", default_value = "60")]
    pub(crate) steps: NonZeroUsize,
    /// Output file of the reward histogram (PNG)
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
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Pairs per micro-batch")))]
#[command(mut_arg("merge", |arg| arg.hide(true)))]
pub(crate) struct TrainArgs {
    /// Initial model: a folder, .gguf file or Hub id [default: a small one, trained on sums]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: PreferenceFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) split: SplitFlags,
    /// Run folder for settings, metrics, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// Chat template [default: the model's own, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    /// Attention mask and pooling [default: causal, or that of the reward model given by --model]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<RewardArchitecture>,
    /// Context length in tokens; longer texts are truncated on the left [default: the model's]
    #[arg(long, visible_alias = "max-length", alias = "block-size", value_name = "T")]
    pub(crate) context_len: Option<NonZeroUsize>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) loss: LossFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    /// Stop when the validation accuracy reaches this value
    #[arg(long, alias = "stop-at", value_name = "P", value_parser = probability)]
    pub(crate) target_accuracy: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) base: BaseModelFlags,
    /// Fine-tuning steps of the small model on sums (without --model)
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

/// Flags of validation and logging during training.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub(crate) struct ValidationFlags {
    /// Steps between validations; 0 validates at the end only
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 100
    )]
    pub(crate) eval_interval: usize,
    /// Maximum number of validation pairs
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) eval_pairs: NonZeroUsize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) metrics: MetricsFlags,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// Reward model: a folder, a run's folder, or owner/name on the Hub
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: String,
    /// Data, as for `train` [default: the held-out pairs of the run, else arithmetic]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<String>,
    /// Column names, as prompt=A,chosen=B,rejected=C [default: prompt, chosen and rejected]
    #[arg(long, value_name = "MAP", requires = "data")]
    pub(crate) columns: Option<String>,
    /// Evaluate this many random pairs, sampled with --seed [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) n: Option<NonZeroUsize>,
    /// Texts per forward pass
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Write a histogram of the rewards to this PNG file
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
    /// Language model: a folder, a run's folder, a .gguf file, a llama2.c .bin, or Hub owner/name
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: String,
    /// Source of the prompts
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Maximum number of prompts
    #[arg(long, alias = "questions", value_name = "N", default_value = "100")]
    pub(crate) prompts: NonZeroUsize,
    /// Completions per prompt, 2 to 64; the better one of a pair is compared with the next
    #[arg(
        long, visible_alias = "num-generations", alias = "samples", value_name = "N",
        default_value = "2", value_parser = value_parser!(u8).range(2..=64)
    )]
    pub(crate) group_size: u8,
    /// Label by this rule [default: ask on the terminal]
    #[arg(long, value_enum)]
    pub(crate) rule: Option<PreferenceRule>,
    /// Output file, one row per label; an existing file is appended to
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/preferences.jsonl"
    )]
    pub(crate) out: PathBuf,
    /// Chat template [default: the model's own, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    /// Sampling temperature
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = positive
    )]
    pub(crate) temperature: f64,
    /// Maximum completion length in tokens; truncated completions are discarded
    #[arg(long, value_name = "N", default_value = "64")]
    pub(crate) max_new_tokens: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}
