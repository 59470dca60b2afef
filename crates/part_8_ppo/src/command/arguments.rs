//! Arguments of `part_8 train`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{RunFlags, SolvedFlags, without_f16};
use experiment::program::ensure_usage;
use scaling::flags::OptimizationFlags;
use scaling::{DefaultLength, DefaultLr, RunDefaults};
use serde::Serialize;
use sft::ChatTokenizer;
use sft::flags::{DataFlags, ExampleFlags};
use sft::model_flags::ModelFlags;
use sft::run_split::GivenSplit;

use crate::flags::{PromptFlags, RewardFnFlags, RolloutFlags};
use crate::policy_checks::{ensure_no_dropout, ensure_split_of_file};
use crate::ppo_flags::{PpoObjectiveFlags, RewardShapingFlags};
use crate::reward_flags::finite;
use crate::{PpoConfig, RolloutConfig};

/// Learning rates without --lr; those of a pretrained model are TRL's.
const LR: DefaultLr =
    DefaultLr { small: 1e-4, small_lora: 1e-3, pretrained: 3e-6, pretrained_lora: 3e-5 };
/// Length of a run without --steps and --epochs.
const LENGTH: DefaultLength = DefaultLength::steps(60, 20);
/// Prompts per rollout without --batch-size.
const BATCH_SIZE: usize = 32;
/// Steps of fine-tuning the small model on sums without --sft-steps.
pub(crate) const SFT_STEPS: usize = 600;

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("model", |arg| arg.help("Policy to start from: a run folder of part 6, a model \
    folder, a .gguf file, a llama2.c .bin, or owner/name on the Hub [default: a small model is \
    pretrained and fine-tuned on sums first]")))]
#[command(mut_arg("steps", |arg| arg.help("PPO steps: rollout, then update [default: 60]")))]
#[command(mut_arg("epochs", |arg| arg.help("Passes over the prompts, instead of --steps")))]
#[command(mut_arg("dtype", without_f16))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 1e-4, or 0.001 for adapters; \
    from 20 million parameters on 3e-6, or 3e-5 for adapters]")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("batch_size", |arg| arg.help("Prompts per rollout [default: 32]")))]
#[command(
    mut_arg("grad_accum_steps", |arg| arg.help("Micro-batches per minibatch (gradient \
    accumulation)"))
)]
#[command(mut_arg("examples", |arg| arg.help("Arithmetic prompts to generate")))]
#[command(mut_arg("validation", |arg| arg.help("Share of a file's rows in the validation split \
    [default: that of the fine-tuning run, see --split-seed, or 0.1]")))]
#[command(mut_arg("assistant_turns", |arg| arg.help("Turns of the assistant in the PTX loss")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/ppo")))]
#[command(mut_arg("eval_interval", |arg| arg.help("Steps between validations; 0 validates only at \
    the end [default: half an epoch or a twentieth of the run, whichever is more, but at most 20]"
)))]
#[command(mut_arg("save_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("1")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Without --model: SFT steps of the small model before PPO [default: 600]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub(crate) sft_steps: Option<usize>,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    pub(crate) examples: ExampleFlags,
    #[command(flatten)]
    pub(crate) prompts: PromptFlags,
    /// Seed of the split of a file, which is that of part 6 [default: that of the fine-tuning run
    /// that --model comes from, if it has the same data, with its --validation unless another is
    /// given; else --seed]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) split_seed: Option<u64>,
    /// Largest number of training prompts [default: all]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) max_train_samples: Option<NonZeroUsize>,
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
    #[command(flatten)]
    solved: SolvedFlags,
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
        self.rollout.check(self.data.default_max_new_tokens())?;
        self.examples.check(&self.data.data, &self.run.settings)?;
        self.reward_fn.check(&self.data.data)?;
        self.reward_fn.program.check(|name| self.reward_fn.source() == name)?;
        self.rewards.check()?;
        let is_file = self.data.data != "arithmetic";
        ensure_split_of_file(is_file, self.given_split(), &self.run.settings)?;
        step.check()?;
        self.model.lora.check()?;
        let prompts = self.batch_size();
        let accumulated = step.grad_accum_steps.get();
        let minibatches = self.objective.num_minibatches(prompts, accumulated)?;
        let too_few = format!("too few prompts ({prompts}) for {minibatches} minibatches");
        ensure_usage(prompts >= minibatches, &too_few)?;
        ensure_usage(
            prompts >= minibatches * accumulated,
            format!("{too_few} of {accumulated} micro-batches"),
        )?;
        ensure_usage(
            prompts.is_multiple_of(minibatches),
            format!(
                "--batch-size {prompts} prompts cannot be split into --num-minibatches \
                 {minibatches} of equal size"
            ),
        )?;
        ensure_no_dropout(&self.model.lora)
    }

    /// Split that the flags give.
    pub(crate) fn given_split(&self) -> GivenSplit {
        GivenSplit { validation: self.examples.validation, seed: self.split_seed }
    }

    /// Prompts per rollout.
    pub(crate) fn batch_size(&self) -> usize {
        self.optimization.batch_size(BATCH_SIZE)
    }

    /// Defaults of a run of a policy with `n_parameters` parameters on `n_prompts` prompts.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_prompts: usize) -> RunDefaults {
        RunDefaults {
            lr: LR.of(n_parameters, self.model.lora.lora_rank),
            steps_per_epoch: n_prompts as f64 / self.batch_size() as f64,
            length: LENGTH,
        }
    }

    /// Settings of the rollouts of a policy with `chat_tokenizer`.
    pub(crate) fn rollout_config(&self, chat_tokenizer: &ChatTokenizer) -> RolloutConfig {
        let stop_token_ids = chat_tokenizer.stop_token_ids().to_vec();
        self.rollout.config(stop_token_ids, self.data.default_max_new_tokens())
    }

    /// Hyperparameters of the run with these rollouts.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn ppo_config(
        &self,
        rollout: RolloutConfig,
        defaults: &RunDefaults,
    ) -> Result<PpoConfig> {
        Ok(PpoConfig {
            prompts_per_step: self.batch_size(),
            rollout,
            reward_shaping: self.rewards.config(),
            kl_controller: self.rewards.kl_controller(),
            update: self.objective.update_config(self.batch_size(), &self.optimization)?,
            schedule: self.optimization.schedule.schedule(defaults)?,
            critic_lr_multiplier: self.objective.critic_lr_multiplier,
            seed: self.run.compute.seed,
        })
    }
}
