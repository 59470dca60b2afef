//! Flags of training on the policy's own completions. TRL's names are accepted as well:
//! `num_generations`, `max_completion_length`, `lmbda`.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use datasets::Example;
use experiment::flags::SolvedFlags;
use experiment::number::{positive, unit_interval};
use experiment::program::{as_usage_error, ensure_usage};
use grpo::{ReferenceUpdate, Task, WeightedRewards};
use modern::{Sampler, SamplingStrategy};
use ppo::RolloutConfig;
use ppo::flags::RewardProgramFlags;
use serde::Serialize;

use crate::distillation::Divergence;
use crate::flags::LossName;
use crate::online_context::OnlineConfig;
use crate::sampled::SampledSignal;

/// Flags of training on the policy's own completions.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Completions of the policy")]
pub struct OnlineFlags {
    /// Learn from completions of the policy for the prompts of --data, not from the pairs of --data
    #[arg(long, value_enum)]
    pub online: Option<SampledSignal>,
    /// With --online: task, which sets the format of --data and the rewards
    #[arg(long, value_enum, default_value_t = Task::Arithmetic)]
    pub task: Task,
    /// With --online: seed of the split of a file, which is then that of part 6 [default: that of
    /// the fine-tuning run that --model comes from, if it has the same data, else a split that all
    /// runs share; with its --validation unless another is given]
    #[arg(long, value_name = "N")]
    pub split_seed: Option<u64>,
    /// With --online: weighted sum of the rewards of part 9, or a reward model of part 7 [default:
    /// the task's]
    #[arg(long, value_name = "REWARDS")]
    pub reward: Option<String>,
    /// With --online: prompts per round
    #[arg(long, value_name = "N", default_value = "32")]
    pub prompts_per_round: NonZeroUsize,
    /// With --online: optimizer steps per round, between which no completion is sampled
    #[arg(long, value_name = "N", default_value = "1")]
    pub steps_per_round: NonZeroUsize,
    /// With --online: group size G, completions sampled per prompt
    #[arg(long, visible_alias = "num-generations", value_name = "G", default_value = "16")]
    pub group_size: NonZeroUsize,
    /// With --online: sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = positive)]
    pub temperature: f64,
    /// With --online: largest number of tokens per completion [default: the task's]
    #[arg(long, visible_alias = "max-completion-length", value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// With --online: rounds after which the reference becomes the policy [default: never]
    #[arg(long, value_name = "N")]
    pub sync_ref: Option<NonZeroUsize>,
    /// With --online distill: model whose distribution the policy learns
    #[arg(long, value_name = "MODEL")]
    pub teacher: Option<String>,
    /// With --online distill: divergence from the teacher
    #[arg(long, value_enum, default_value_t)]
    pub divergence: DivergenceName,
    /// With --divergence jsd: 0 for the forward KL, 1 for the reverse KL (GKD's β)
    #[arg(long, value_name = "P", default_value_t = 1., value_parser = unit_interval)]
    pub jsd_beta: f64,
    /// With --online distill: share of rounds on the policy's own completions, the others on the
    /// right answers (GKD's λ)
    #[arg(
        long, alias = "lambda", value_name = "P", default_value_t = 1.,
        value_parser = unit_interval
    )]
    pub lmbda: f64,
    /// Reward program.
    #[command(flatten)]
    pub program: RewardProgramFlags,
    /// End of the run.
    #[command(flatten)]
    pub solved: SolvedFlags,
}

/// Name of a divergence from a teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DivergenceName {
    /// Over the whole vocabulary, with --jsd-beta
    #[default]
    Jsd,
    /// Reverse KL, estimated at the sampled token
    Sampled,
}

impl OnlineFlags {
    /// Checks that `examples` have the answers or tests that the rewards, or rounds on right
    /// answers, need.
    ///
    /// # Errors
    /// When one lacks them.
    pub fn ensure_applicable(&self, examples: &[Example]) -> Result<()> {
        if self.online != Some(SampledSignal::Distill) {
            return self.weighted_rewards()?.ensure_applicable(examples);
        }
        let has_answers = examples.iter().all(|example| !example.completion.is_empty());
        ensure_usage(
            self.lmbda == 1. || has_answers,
            "--lmbda below 1 learns from right answers, too, which these rows lack",
        )
    }

    /// Checks the flags of a run with this `loss`.
    ///
    /// # Errors
    /// A usage error when they contradict each other.
    pub fn check(&self, loss: LossName, reference: Option<&str>) -> Result<()> {
        let Some(signal) = self.online else {
            let given = [
                ("--reward", self.reward.is_some()),
                ("--reward-program", self.program.reward_program.is_some()),
                ("--judge-model", self.program.judge.judge_model.is_some()),
                ("--sync-ref", self.sync_ref.is_some()),
                ("--max-new-tokens", self.max_new_tokens.is_some()),
                ("--teacher", self.teacher.is_some()),
                ("--split-seed", self.split_seed.is_some()),
                ("--task", self.task != Task::Arithmetic),
                ("--prompts-per-round", self.prompts_per_round.get() != 32),
                ("--steps-per-round", self.steps_per_round.get() != 1),
                ("--group-size", self.group_size.get() != 16),
                ("--temperature", self.temperature != 1.),
                ("--divergence", self.divergence != DivergenceName::default()),
                ("--jsd-beta", self.jsd_beta != 1.),
                ("--lmbda", self.lmbda != 1.),
            ];
            let flag = given.iter().find(|(_, is_given)| *is_given);
            let name = flag.map_or("", |(name, _)| *name);
            return ensure_usage(flag.is_none(), format!("{name} needs --online"));
        };
        ensure_usage(loss != LossName::Kto, "--loss kto learns from rows, not with --online")?;
        ensure_usage(
            signal == SampledSignal::Pairs || loss == LossName::Sigmoid,
            "--loss is for --online pairs: best learns by cross-entropy, distill from its teacher",
        )?;
        ensure_usage(
            (signal == SampledSignal::Distill) == self.teacher.is_some(),
            "--online distill and --teacher MODEL need each other",
        )?;
        ensure_usage(
            self.divergence == DivergenceName::Jsd || self.lmbda == 1.,
            "--divergence sampled is right for sampled tokens alone: use it with --lmbda 1",
        )?;
        let is_group = self.group_size.get() > 1 || signal == SampledSignal::Distill;
        ensure_usage(is_group, "--group-size 1: one completion is neither better nor worse")?;
        ensure_usage(
            reference.is_none(),
            "--reference: with --online the reference is the initial model (or --sync-ref)",
        )?;
        let rewards = self.weighted_rewards()?;
        self.program.check(|name| rewards.has(name))
    }

    /// Weighted rewards.
    ///
    /// # Errors
    /// A usage error when they cannot be parsed.
    pub fn weighted_rewards(&self) -> Result<WeightedRewards> {
        let default = self.task.default_rewards(&self.program);
        as_usage_error(WeightedRewards::parse(self.reward.as_deref().unwrap_or(default)))
    }

    /// Largest number of tokens per completion.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.map_or(self.task.default_max_new_tokens(), NonZeroUsize::get)
    }

    /// Configuration of the rounds, whose completions end with one of `stop_token_ids`.
    ///
    /// # Errors
    /// Without --online.
    pub fn config(&self, stop_token_ids: Vec<u32>) -> Result<OnlineConfig> {
        let strategy = SamplingStrategy::new(self.temperature, None, None, None);
        Ok(OnlineConfig {
            signal: self.online.context("a run without --online")?,
            prompts_per_round: self.prompts_per_round.get(),
            steps_per_round: self.steps_per_round.get(),
            rollout: RolloutConfig::new(
                self.group_size.get(),
                Sampler::new(strategy),
                self.max_new_tokens(),
                stop_token_ids,
            ),
        })
    }

    /// Divergence from the teacher.
    pub fn divergence(&self) -> Divergence {
        match self.divergence {
            DivergenceName::Jsd => Divergence::Jsd { beta: self.jsd_beta },
            DivergenceName::Sampled => Divergence::Sampled,
        }
    }

    /// Update rule of the reference.
    pub fn reference_update(&self) -> ReferenceUpdate {
        self.sync_ref.map_or(ReferenceUpdate::Fixed, |n| ReferenceUpdate::SyncEvery(n.get()))
    }
}
