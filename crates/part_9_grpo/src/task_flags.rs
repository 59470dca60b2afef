//! The flags of what is asked and what is paid.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::Args;
use ppo::PromptExample;
use ppo::prompts::tokenize_prompts;
use ppo::reward_fn::NamedRewardFn;
use serde::Serialize;
use sft::{ChatTokenizer, Example};
use tiny_gpt::command::as_usage_error;

use crate::rewards::describe_reward_rules;
use crate::{Task, WeightedRewards};

/// Task and reward flags.
#[derive(Debug, Clone, Serialize, Args)]
pub struct TaskFlags {
    /// Task
    #[arg(long, value_enum, default_value_t = Task::Arithmetic)]
    pub task: Task,
    /// Problems (question or prompt, and answer): a .json or .jsonl file, also .gz, or
    /// owner/name:file.jsonl on the Hub
    #[arg(long, visible_alias = "dataset", alias = "train-file", value_name = "DATA")]
    pub data: Option<String>,
    /// Reward functions with weights.
    #[arg(long, value_name = "MIX", help = reward_help())]
    pub reward: Option<String>,
    /// Largest number of tokens per completion [default: the task's]
    #[arg(
        long, visible_alias = "max-completion-length", aliases = ["max-gen-length", "resp-len"],
        value_name = "N"
    )]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Drop problems with a longer prompt, in tokens [default: those that leave no room to answer]
    #[arg(long, value_name = "N")]
    pub max_prompt_length: Option<NonZeroUsize>,
}

/// The help of --reward.
fn reward_help() -> String {
    format!(
        "What is paid for, as name=weight,name=weight, summed: {}, chance, or a reward model (a folder, or owner/name on the Hub) \
         [default: as the task has it]",
        describe_reward_rules()
    )
}

impl TaskFlags {
    /// Who pays, to a policy that speaks as `speech` does. Says so where a reward model has other tokens than it.
    ///
    /// # Errors
    /// As [`TaskFlags::mix`], and when there is no such reward model.
    pub fn open_reward_fn(&self, speech: &ChatTokenizer, device: &Device) -> Result<NamedRewardFn> {
        let (judge, strangers) = self.weighted_rewards()?.open_reward_fn(speech, 32, device)?;
        for name in strangers {
            println!(
                "{name} has another tokenizer than the policy: it gets completions as text, in tokens of its own"
            );
        }
        Ok(judge)
    }

    /// What is paid for, by name.
    pub fn reward_spec(&self) -> &str {
        self.reward.as_deref().unwrap_or(self.task.default_rewards())
    }

    /// What is paid for.
    ///
    /// # Errors
    /// A [`UsageError`](tiny_gpt::command::UsageError) when it is no mix.
    pub fn weighted_rewards(&self) -> Result<WeightedRewards> {
        as_usage_error(WeightedRewards::parse(self.reward_spec()))
    }

    /// # Errors
    /// A [`UsageError`](tiny_gpt::command::UsageError) when the rewards are no mix, or the task needs data.
    pub fn check(&self) -> Result<()> {
        self.weighted_rewards()?;
        as_usage_error(self.task.ensure_has_data(self.data.as_deref()))
    }

    /// `examples` as questions to a model with such a `context`, and how many were left out as too long.
    ///
    /// # Errors
    /// When none is left.
    pub fn prompt_examples(
        &self,
        examples: Vec<Example>,
        speech: &ChatTokenizer,
        context: usize,
    ) -> Result<(Vec<PromptExample>, usize)> {
        let (mut asked, mut left_out) =
            tokenize_prompts(examples, speech, context, self.max_new_tokens())?;
        if let Some(longest) = self.max_prompt_length {
            let n = asked.len();
            asked.retain(|question| question.prompt.len() <= longest.get());
            left_out += n - asked.len();
            ensure!(!asked.is_empty(), "no prompt has at most {longest} tokens");
        }
        Ok((asked, left_out))
    }

    /// The longest completion, in tokens.
    pub fn max_new_tokens(&self) -> usize {
        self.max_new_tokens.map_or(self.task.default_max_new_tokens(), NonZeroUsize::get)
    }
}
