//! Arguments of the demo, of `train` and of `eval`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{ComputeFlags, RunFlags, SolvedFlags, without_f16};
use experiment::number::{fraction, positive};
use experiment::program::as_usage_error;
use modern::flags::RunChatTemplateFlags;
use ppo::policy_checks::{ensure_no_dropout, ensure_split_of_file};
use scaling::flags::ScheduleFlags;
use scaling::{DefaultLength, DefaultLr, RunDefaults};
use serde::Serialize;
use sft::ChatFormat;
use sft::model_flags::{FinetunedFlags, LoraFlags};
use sft::run_split::GivenSplit;

use super::step_flags::GrpoStepFlags;
use crate::config::{GrpoConfig, GrpoUpdateConfig};
use crate::flags::{GrpoRolloutFlags, TaskFlags, check_rollout_size};
use crate::grpo_flags::GrpoObjectiveFlags;

#[derive(Args, Serialize)]
pub(crate) struct PolicyFlags {
    /// Initial policy: a run folder of part 6, a model folder, a .gguf file, or owner/name on the
    /// Hub
    #[arg(
        long,
        visible_alias = "model-name-or-path",
        alias = "model-name",
        value_name = "MODEL",
        help_heading = "Model"
    )]
    pub(crate) model: String,
}

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

/// Learning rates without --lr; those of a pretrained model are TRL's.
const LR: DefaultLr =
    DefaultLr { small: 2e-4, small_lora: 1e-3, pretrained: 1e-6, pretrained_lora: 1e-5 };
/// Length of a run without --steps and --epochs.
const LENGTH: DefaultLength = DefaultLength::steps(100, 20);

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("steps", |arg| {
    arg.help("Number of GRPO steps [default: 100]").alias("steps-per-iteration")
}))]
#[command(mut_arg("epochs", |arg| arg.help("Passes over the problems, instead of --steps")))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 2e-4, or 0.001 for adapters; \
    from 20 million parameters on 1e-6, or 1e-5 for adapters]")))]
#[command(mut_arg("dtype", without_f16))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("beta2", |arg| arg.default_value("0.95")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/grpo")))]
#[command(mut_arg("eval_interval", |arg| arg.help("Steps between validations; 0 validates only at \
    the end [default: half an epoch or a twentieth of the run, whichever is more, but at most 20]"
)))]
#[command(mut_arg("save_interval", |arg| arg.default_value("20")))]
#[command(mut_arg("log_interval", |arg| arg.default_value("5")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    /// Chat format [default: the model's chat template, else instruction]
    #[arg(long, value_enum, help_heading = "Model")]
    pub(crate) template: Option<ChatFormat>,
    #[command(flatten)]
    pub(crate) chat_template: RunChatTemplateFlags,
    #[command(flatten)]
    pub(crate) lora: LoraFlags,
    #[command(flatten)]
    pub(crate) task: TaskFlags,
    /// Largest number of training problems [default: all]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) max_train_samples: Option<NonZeroUsize>,
    /// Largest number of validation problems
    #[arg(
        long, aliases = ["eval-problems", "n"], value_name = "N", default_value = "200",
        help_heading = "Data"
    )]
    pub(crate) eval_examples: NonZeroUsize,
    /// Validation problems, a file as --data [default: the task's own, or a tenth of --data]
    #[arg(long, value_name = "DATA", help_heading = "Data")]
    pub(crate) eval_file: Option<String>,
    /// Split of --eval-file, if that is a folder or a data set of the Hub [default: test]
    #[arg(
        long,
        visible_alias = "dataset-test-split",
        value_name = "NAME",
        requires = "eval_file",
        help_heading = "Data"
    )]
    pub(crate) eval_split: Option<String>,
    /// Seed of the split of --data, which is then that of part 6 [default: that of the fine-tuning
    /// run that --model comes from, if it has the same data; else a split that all runs share]
    #[arg(long, value_name = "N", conflicts_with = "eval_file", help_heading = "Data")]
    pub(crate) split_seed: Option<u64>,
    /// Share of the rows of --data in the validation split [default: that of the fine-tuning run
    /// or of all runs, see --split-seed, with which it is 0.1]
    #[arg(
        long, value_name = "P", value_parser = fraction, conflicts_with = "eval_file",
        help_heading = "Data"
    )]
    pub(crate) validation: Option<f64>,
    #[command(flatten)]
    rollout: GrpoRolloutFlags,
    #[command(flatten)]
    objective: GrpoObjectiveFlags,
    #[command(flatten)]
    schedule: ScheduleFlags,
    #[command(flatten)]
    pub(crate) step: GrpoStepFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    #[command(flatten)]
    solved: SolvedFlags,
}

impl TrainArgs {
    /// Split that the flags give.
    pub(crate) fn given_split(&self) -> GivenSplit {
        GivenSplit { validation: self.validation, seed: self.split_seed }
    }

    /// Prompts per step.
    fn batch_size(&self) -> usize {
        self.step.batch_size(self.rollout.group_size.get())
    }

    /// Checks the combination of arguments.
    ///
    /// # Errors
    /// When the arguments alone are wrong.
    pub(crate) fn check(&self) -> Result<()> {
        let (group_size, max_new_tokens) =
            (self.rollout.group_size.get(), self.task.max_new_tokens());
        self.task.check()?;
        let is_file = self.task.file_data().is_some();
        ensure_split_of_file(is_file, self.given_split(), &self.run.settings)?;
        let rewards = self.task.weighted_rewards()?;
        self.task.program.check(|name| rewards.has(name))?;
        self.objective.check(group_size, max_new_tokens, self.step.num_iterations.get())?;
        self.lora.check()?;
        ensure_no_dropout(&self.lora)?;
        self.step.check(group_size)?;
        check_rollout_size(self.batch_size(), group_size, max_new_tokens)?;
        as_usage_error(self.rollout.config(max_new_tokens, vec![0]).check())?;
        self.schedule.check(None)
    }

    /// Defaults of a run of a policy with `n_parameters` parameters on `n_prompts` prompts.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_prompts: usize) -> RunDefaults {
        RunDefaults {
            lr: LR.of(n_parameters, self.lora.lora_rank),
            steps_per_epoch: n_prompts as f64 / self.batch_size() as f64,
            length: LENGTH,
        }
    }

    /// Configuration of the run for a policy with `stop_token_ids`.
    ///
    /// # Errors
    /// When the schedule is impossible.
    pub(crate) fn grpo_config(
        &self,
        stop_token_ids: Vec<u32>,
        defaults: &RunDefaults,
    ) -> Result<GrpoConfig> {
        Ok(GrpoConfig {
            prompts_per_step: self.batch_size(),
            rollout: self.rollout.config(self.task.max_new_tokens(), stop_token_ids),
            advantage: self.objective.advantage_config(),
            objective: self.objective.objective(),
            reference_update: self.objective.reference_update(),
            update: GrpoUpdateConfig {
                num_iterations: self.step.num_iterations.get(),
                micro_batch_size: self.step.micro_batch_size(self.rollout.group_size.get()),
                schedule: self.schedule.schedule(defaults)?,
                optimizer: self.step.optimizer.optimizer_config(),
                max_grad_norm: self.step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
                max_sampled_tokens: None,
            },
            seed: self.run.compute.seed,
        })
    }
}

#[derive(Args)]
#[command(args_override_self = true)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) finetuned: FinetunedFlags,
    /// Reference model [default: the run's base model]
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) task: TaskFlags,
    /// Largest number of problems
    #[arg(long, aliases = ["eval-problems", "n"], value_name = "N", help_heading = "Data")]
    pub(crate) eval_examples: Option<NonZeroUsize>,
    /// Completions sampled per problem for pass@k
    #[arg(
        long, visible_alias = "num-generations", aliases = ["samples", "num-samples"],
        value_name = "N", default_value = "8", help_heading = "Algorithm"
    )]
    pub(crate) group_size: NonZeroUsize,
    /// k of pass@k
    #[arg(long, value_name = "K", default_value = "8", help_heading = "Algorithm")]
    pub(crate) k: NonZeroUsize,
    /// Sampling temperature for pass@k
    #[arg(
        long, value_name = "T", default_value_t = 1., value_parser = positive,
        help_heading = "Algorithm"
    )]
    pub(crate) temperature: f64,
    /// Completions per batch
    #[arg(
        long,
        alias = "batch-prompts",
        value_name = "N",
        default_value = "64",
        help_heading = "Run"
    )]
    pub(crate) batch_size: NonZeroUsize,
    /// Problems that are printed with the right answer, the extracted one and the completion
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Run")]
    pub(crate) num_completions_to_print: usize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long, help_heading = "Run")]
    pub(crate) json: bool,
}
