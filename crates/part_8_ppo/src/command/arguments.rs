//! Command line of part 8.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::{ComputeFlags, MetricsFlags, RunFlags};
use experiment::number::temperature;
use scaling::flags::{ScheduleFlags, StepFlags};
use serde::Serialize;
use sft::ChatFormat;
use sft::flags::{BaseModelFlags, DataFlags, ExampleFlags, FinetunedFlags, LoraFlags};

use crate::flags::{PpoObjectiveFlags, RewardFnFlags, RewardShapingFlags, RolloutFlags};

pub(crate) const DEFAULT_OUT: &str = "runs/ppo";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// PPO steps
    #[arg(long, value_name = "N", default_value = "40")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("steps", |arg| arg.default_value("60").help("PPO steps: rollout, then update")))]
#[command(mut_arg("lr", |arg| arg.default_value("1e-4")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("32").help("Prompts per rollout")))]
#[command(
    mut_arg("grad_accum_steps", |arg| arg.help("Micro-batches per minibatch (gradient \
    accumulation)"))
)]
#[command(mut_arg("examples", |arg| arg.help("Arithmetic prompts to generate")))]
#[command(mut_arg("save_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("1")))]
pub(crate) struct TrainArgs {
    /// Policy to start from: a run folder of part 6, a model folder, a .gguf file, a llama2.c .bin,
    /// or owner/name on the Hub [default: a small model is pretrained and fine-tuned on sums first]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Reference model of the KL penalty [default: the policy at the start]
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
    /// Run folder: settings, metrics, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// Chat template [default: the model's own, else instruction]
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
    /// Stop when the mean validation reward reaches X
    #[arg(
        long, alias = "stop-at", value_name = "X", allow_negative_numbers = true,
        value_parser = finite
    )]
    pub(crate) target_reward: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) eval: ValidationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) base: BaseModelFlags,
    /// Without --model: SFT steps of the small model before PPO
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

/// Validation and logging flags of a run.
#[derive(Debug, Clone, Copy, Args, Serialize)]
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
    /// Largest number of validation prompts
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
    /// Reference model [default: the run's base model, or the model without its adapter]
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) reward_fn: RewardFnFlags,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    /// Largest number of prompts
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Prompts per batch
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    /// Largest number of tokens per completion [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<NonZeroUsize>,
    /// Sampling temperature; 0: greedy decoding
    #[arg(
        long, value_name = "T", default_value_t = 0., allow_negative_numbers = true,
        value_parser = temperature
    )]
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
