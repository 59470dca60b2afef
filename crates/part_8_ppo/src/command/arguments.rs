//! The command line of part 8.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use scaling::flags::{MetricsFlags, RunFlags, ScheduleFlags, StepFlags};
use serde::Serialize;
use sft::ChatFormat;
use sft::flags::{BaseModelFlags, DataFlags, ExampleFlags, FinetunedFlags, LoraFlags};
use tiny_gpt::flags::{ComputeFlags, temperature};

use crate::flags::{PpoObjectiveFlags, RewardFnFlags, RewardShapingFlags, RolloutFlags};

pub(crate) const DEFAULT_OUT: &str = "runs/ppo";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Steps of PPO
    #[arg(long, value_name = "N", default_value = "40")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("steps", |arg| arg.default_value("60").help("Rollouts")))]
#[command(mut_arg("lr", |arg| arg.default_value("1e-4")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("32").help("Prompts of a rollout")))]
#[command(mut_arg("grad_accum_steps", |arg| arg.help("Parts of a mini-batch that are computed one after the other")))]
#[command(mut_arg("examples", |arg| arg.help("Questions of arithmetic that are drawn")))]
#[command(mut_arg("save_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("1")))]
pub(crate) struct TrainArgs {
    /// The policy: a run folder of part 6, a model folder, a .gguf file, a llama2.c .bin, or owner/name on the Hub [default: a small
    /// one is pretrained and taught sums first]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The model that the policy is not to stray from [default: the policy as it starts]
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) reward_fn: RewardFnFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) examples: ExampleFlags,
    /// The run folder: settings, figures, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// How conversations are written [default: the model's own way, else instruction]
    #[arg(long, value_enum)]
    pub(crate) template: Option<ChatFormat>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) rollout: RolloutFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) rewards: RewardShapingFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) objective: PpoObjectiveFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) lora: LoraFlags,
    /// End when the validation answers score this on average
    #[arg(long, alias = "stop-at", value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub(crate) target_reward: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) base: BaseModelFlags,
    /// Without --model: optimizer steps of teaching the small one to answer sums
    #[arg(long, value_name = "N", default_value_t = 600)]
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
    /// Steps between two looks at the validation questions; 0 for one at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 20
    )]
    pub(crate) eval_interval: usize,
    /// Most validation questions that are looked at
    #[arg(long, value_name = "N", default_value = "300")]
    pub(crate) eval_examples: NonZeroUsize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) metrics: MetricsFlags,
}

#[derive(Args)]
#[command(args_override_self = true)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) finetuned: FinetunedFlags,
    /// The model to compare with [default: the one the run began with, or the model without its adapter]
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) reward_fn: RewardFnFlags,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Most questions that are asked
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Questions at a time
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Longest answer that is let be written, in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<NonZeroUsize>,
    /// Of the answers that are compared: 0 for the likeliest, above for drawn ones
    #[arg(long, value_name = "T", default_value_t = 0., allow_negative_numbers = true, value_parser = temperature)]
    pub(crate) temperature: f64,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("must be finite".into()) }
}
