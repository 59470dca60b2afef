//! Arguments of `part_8 train`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::RunFlags;
use experiment::program::ensure_usage;
use scaling::flags::OptimizationFlags;
use serde::Serialize;
use sft::ChatTokenizer;
use sft::flags::{DataFlags, ExampleFlags, ModelFlags};

use crate::PpoConfig;
use crate::flags::{RewardFnFlags, RolloutFlags};
use crate::ppo_flags::{PpoObjectiveFlags, RewardShapingFlags};

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("model", |arg| arg.help("Policy to start from: a run folder of part 6, a model \
    folder, a .gguf file, a llama2.c .bin, or owner/name on the Hub [default: a small model is \
    pretrained and fine-tuned on sums first]")))]
#[command(mut_arg("steps", |arg| arg.default_value("60").help("PPO steps: rollout, then update")))]
#[command(mut_arg("lr", |arg| arg.default_value("1e-4")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("32").help("Prompts per rollout")))]
#[command(
    mut_arg("grad_accum_steps", |arg| arg.help("Micro-batches per minibatch (gradient \
    accumulation)"))
)]
#[command(mut_arg("examples", |arg| arg.help("Arithmetic prompts to generate")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/ppo")))]
#[command(mut_arg("eval_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("save_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("1")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Without --model: SFT steps of the small model before PPO
    #[arg(long, value_name = "N", default_value_t = 600, help_heading = "Model")]
    pub(crate) sft_steps: usize,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    pub(crate) examples: ExampleFlags,
    #[command(flatten)]
    pub(crate) optimization: OptimizationFlags,
    #[command(flatten)]
    pub(crate) reward_fn: RewardFnFlags,
    /// Reference model of the KL penalty [default: the policy at the start]
    #[arg(long, value_name = "MODEL", help_heading = "Algorithm")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    rollout: RolloutFlags,
    #[command(flatten)]
    rewards: RewardShapingFlags,
    #[command(flatten)]
    pub(crate) objective: PpoObjectiveFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Largest number of validation prompts
    #[arg(long, value_name = "N", default_value = "300", help_heading = "Run")]
    pub(crate) eval_examples: NonZeroUsize,
    /// Stop when the mean validation reward reaches X
    #[arg(long, alias = "stop-at", value_name = "X", value_parser = finite, help_heading = "Run")]
    pub(crate) target_reward: Option<f64>,
}

impl TrainArgs {
    /// Checks the combination of arguments.
    ///
    /// # Errors
    /// When the arguments alone are wrong.
    pub(crate) fn check(&self) -> Result<()> {
        let step = &self.optimization;
        self.rollout.check()?;
        self.reward_fn.check(&self.data.data)?;
        self.reward_fn.program.check(self.reward_fn.source() == "program")?;
        self.rewards.check()?;
        step.schedule.schedule()?;
        step.ensure_f32_without_checkpointing()?;
        self.model.lora.check()?;
        let (prompts, minibatches) = (step.batch_size, self.objective.num_minibatches);
        let too_few = format!("{prompts} prompts are too few for {minibatches} minibatches");
        ensure_usage(prompts >= minibatches, &too_few)?;
        let accumulated = step.grad_accum_steps;
        ensure_usage(
            prompts.get() >= minibatches.get() * accumulated.get(),
            format!("{too_few} of {accumulated} micro-batches"),
        )?;
        ensure_usage(
            self.model.lora.lora_dropout == 0.,
            "--lora-dropout: rollouts have no dropout, so the first ratios would differ from 1",
        )
    }

    /// Hyperparameters of the run for a policy with `chat_tokenizer`.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn ppo_config(&self, chat_tokenizer: &ChatTokenizer) -> Result<PpoConfig> {
        let stop_token_ids = chat_tokenizer.stop_token_ids().to_vec();
        Ok(PpoConfig {
            prompts_per_step: self.optimization.batch_size.get(),
            rollout: self.rollout.config(stop_token_ids, self.data.default_max_new_tokens()),
            reward_shaping: self.rewards.config(),
            kl_controller: self.rewards.kl_controller(),
            update: self.objective.update_config(&self.optimization),
            schedule: self.optimization.schedule.schedule()?,
            critic_lr_multiplier: self.objective.critic_lr_multiplier,
            seed: self.run.compute.seed,
        })
    }
}

fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("must be finite".into()) }
}
