//! Flags of rollouts and of their rewards.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;
use datasets::answers::final_answer;
use datasets::{Example, ExampleColumns};
use experiment::number::{positive, probability, temperature, unit_interval};
use experiment::program::{as_usage_error, ensure_usage};
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::flags::DataFlags;
use sft::{ChatTokenizer, SftSource};

use crate::reward_fn::{self, NamedRewardFn, RewardParts};
use crate::reward_program::reward_program_fn;
use crate::rollout::RolloutConfig;

/// Flags of the rollout: completions per prompt and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutFlags {
    /// Completions sampled per prompt
    #[arg(
        long, visible_alias = "num-generations", aliases = ["samples", "num-samples"],
        value_name = "N", default_value = "8"
    )]
    pub group_size: NonZeroUsize,
    /// Largest number of tokens per completion [default: 8 for arithmetic, else 64]
    #[arg(long, visible_aliases = ["max-completion-length", "response-length"], value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = temperature)]
    pub temperature: f64,
    /// Sample from the K most likely tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Nucleus sampling: sample from the fewest tokens with total probability P
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f64>,
}

impl RolloutFlags {
    /// Checks that an update can learn from such rollouts.
    ///
    /// # Errors
    /// A usage error otherwise.
    pub fn check(&self) -> Result<()> {
        as_usage_error(self.config(vec![0], 1).check())
    }

    /// Rollout settings with these stop tokens; `default` is the value of --max-new-tokens when it
    /// is not given.
    pub fn config(&self, stop_token_ids: Vec<u32>, default: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        RolloutConfig {
            group_size: self.group_size.get(),
            sampler: Sampler::new(strategy),
            max_new_tokens: self.max_new_tokens.map_or(default, NonZeroUsize::get),
            stop_token_ids,
        }
    }
}

/// Flags of a reward program.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardProgramFlags {
    /// Program that rewards completions, such as "python3 reward.py": it reads a batch as a line of
    /// JSON (prompts, completions, answers, terminated) and prints a line, a list of rewards
    #[arg(long, value_name = "COMMAND")]
    pub reward_program: Option<String>,
    /// Seconds that the reward program has for a batch
    #[arg(long, value_name = "X", default_value_t = 60., value_parser = positive)]
    pub reward_timeout: f64,
}

impl RewardProgramFlags {
    /// Checks that there is a program if the reward of a new run uses one, and only then.
    ///
    /// # Errors
    /// A usage error.
    pub fn check(&self, is_used: bool) -> Result<()> {
        ensure_usage(
            is_used == self.reward_program.is_some(),
            "--reward program and --reward-program COMMAND need each other",
        )
    }

    /// Reward function of the program.
    ///
    /// # Errors
    /// A usage error without --reward-program, and those of [`reward_program_fn`].
    pub fn open_reward_fn(&self) -> Result<NamedRewardFn> {
        let program = self.reward_program.as_deref();
        ensure_usage(program.is_some(), "--reward program needs --reward-program COMMAND")?;
        reward_program_fn(program.unwrap_or(""), Duration::from_secs_f64(self.reward_timeout))
    }
}

/// Flags that choose the reward function.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardFnFlags {
    /// Reward function: rule (1 if the answer is right), program (see --reward-program), random (a
    /// control), or a reward model: a folder, a run's folder, or owner/name on the Hub [default:
    /// program with --reward-program, else rule]
    #[arg(long, value_name = "REWARD")]
    pub reward: Option<String>,
    /// Reward program.
    #[command(flatten)]
    pub program: RewardProgramFlags,
    /// With --reward rule, reward of a wrong answer that is at least a number; not for arithmetic
    #[arg(
        long, alias = "form-credit", value_name = "X", default_value_t = 0.,
        value_parser = unit_interval
    )]
    pub format_reward: f64,
}

impl RewardFnFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A usage error when --format-reward has no effect.
    pub fn check(&self, data: &str) -> Result<()> {
        let has_effect = self.source() == "rule" && data != "arithmetic";
        ensure_usage(
            has_effect || self.format_reward == 0.,
            "--format-reward needs --reward rule and data other than arithmetic, where only the \
             bare answer is rewarded",
        )
    }

    /// Reward function as text.
    pub fn source(&self) -> &str {
        let default = if self.program.reward_program.is_some() { "program" } else { "rule" };
        self.reward.as_deref().unwrap_or(default)
    }

    /// Source and columns of `data`: rows need a completion only if it is the right answer.
    ///
    /// # Errors
    /// Those of [`DataFlags::open_source`].
    pub fn open_prompts(&self, data: &DataFlags) -> Result<(SftSource, Option<ExampleColumns>)> {
        let (source, columns) = data.open_source()?;
        let needs_answers = self.source() == "rule";
        Ok((source, columns.or((!needs_answers).then_some(ExampleColumns::AnyPrompt))))
    }

    /// Checks that the rule can reward the right answer of each of `examples`, which are those of
    /// `data`.
    ///
    /// # Errors
    /// Names an answer without a number.
    pub fn check_answers(&self, data: &str, examples: &[Example]) -> Result<()> {
        if self.source() != "rule" || data == "arithmetic" {
            return Ok(());
        }
        let is_text = |example: &&Example| final_answer(&example.completion).is_none();
        if let Some(example) = examples.iter().find(is_text) {
            bail!(
                "{data}: --reward rule compares numbers, and the answer {:?} has none: use a \
                 reward model or program",
                example.completion
            );
        }
        Ok(())
    }

    /// Reward function for completions of prompts from `data` by a policy with `chat_tokenizer`.
    /// Prints a note if a reward model has another tokenizer.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open_reward_fn(
        &self,
        data: &str,
        chat_tokenizer: &ChatTokenizer,
        batch_size: usize,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let (reward_fn, name) = match (self.source(), data) {
            ("program", _) => return self.program.open_reward_fn(),
            ("rule", "arithmetic") => (reward_fn::exact_match_reward_fn(), "exact".to_string()),
            ("rule", _) => (
                reward_fn::final_answer_reward_fn(self.format_reward),
                format!("final answer, {} for the form", self.format_reward),
            ),
            // The name that checkpoints from before the renaming hold.
            ("random" | "chance", _) => (reward_fn::random_reward_fn(), "chance".to_string()),
            (source, _) => {
                let (reward_model, other) =
                    reward_fn::open_reward_model(source, chat_tokenizer, batch_size, device)?;
                if other {
                    println!(
                        "the reward model has another tokenizer than the policy: completions are \
                         tokenized again for it"
                    );
                }
                return Ok(reward_model);
            }
        };
        Ok(NamedRewardFn { reward_fn, name, parts: RewardParts::default() })
    }
}
