//! Flags of rollouts and of their rewards.

use std::num::NonZeroUsize;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;
use datasets::answers::final_answer;
use datasets::{Example, ExampleColumns};
use experiment::number::{probability, temperature, unit_interval};
use experiment::program::{as_usage_error, ensure_usage};
use model_io::ChatVariables;
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::flags::DataFlags;
use sft::{ChatFormat, ChatTokenizer, MappedSource};

use crate::PromptExample;
use crate::prompts::{PromptFormat, limit_length, tokenize_prompts};
pub use crate::reward_flags::{
    CodeRewardFlags, JudgeFlags, OutcomeRewardFlags, RewardProgramFlags,
};
use crate::reward_fn::{self, NamedRewardFn};
use crate::reward_model_fn::{RewardTokenizer, open_reward_model};
use crate::rollout::RolloutConfig;
use crate::scoring_counter::ScoringCounter;

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
    /// Shortest completions, and batches.
    #[command(flatten)]
    pub limits: RolloutLimitFlags,
}

/// Flags of the length of completions, and of the number that are sampled together.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutLimitFlags {
    /// Smallest number of tokens before a completion may end [default: 0]
    #[arg(long, value_name = "N")]
    pub min_new_tokens: Option<usize>,
    /// Prompts whose completions are sampled together: less memory, the same completions [default:
    /// all of a step]
    #[arg(long, visible_alias = "local-rollout-forward-batch-size", value_name = "N")]
    pub rollout_batch_size: Option<NonZeroUsize>,
}

impl RolloutLimitFlags {
    /// `config` with these limits.
    pub fn limit(&self, config: RolloutConfig) -> RolloutConfig {
        RolloutConfig {
            min_new_tokens: self.min_new_tokens.unwrap_or(0),
            batch_size: self.rollout_batch_size.map_or(usize::MAX, NonZeroUsize::get),
            ..config
        }
    }
}

/// Flags of the training prompts.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct PromptFlags {
    /// Maximum prompt length in tokens; longer prompts are dropped [default: what leaves room for a
    /// completion]
    #[arg(long, value_name = "N")]
    pub max_prompt_length: Option<NonZeroUsize>,
    /// Text of a prompt, in which {question} is the question of a row: no system prompt, and
    /// --template joined unless another is given
    #[arg(long, value_name = "TEXT")]
    pub prompt_format: Option<PromptFormat>,
}

impl PromptFlags {
    /// Chat format of the run: `given`, else that of the prompt format.
    pub fn chat_format(&self, given: Option<ChatFormat>) -> Option<ChatFormat> {
        given.or(self.prompt_format.is_some().then_some(ChatFormat::Joined))
    }

    /// `examples` with prompts in the prompt format.
    ///
    /// # Errors
    /// When a prompt is not a single question.
    pub fn format(&self, examples: &mut [Example]) -> Result<()> {
        let Some(format) = &self.prompt_format else { return Ok(()) };
        examples.iter_mut().try_for_each(|example| format.apply(example))
    }

    /// Tokenized prompts of `examples` for a model with `context_len`, and the number of examples
    /// that were dropped because their prompt is too long.
    ///
    /// # Errors
    /// When all are dropped.
    pub fn tokenize(
        &self,
        examples: Vec<Example>,
        chat_tokenizer: &ChatTokenizer,
        context_len: usize,
        max_new_tokens: usize,
    ) -> Result<(Vec<PromptExample>, usize)> {
        let tokenized = tokenize_prompts(examples, chat_tokenizer, context_len, max_new_tokens)?;
        limit_length(tokenized, self.max_prompt_length)
    }
}

impl RolloutFlags {
    /// Checks that an update can learn from such rollouts; `default_max_new_tokens` is the value of
    /// --max-new-tokens when it is not given.
    ///
    /// # Errors
    /// A usage error otherwise.
    pub fn check(&self, default_max_new_tokens: usize) -> Result<()> {
        as_usage_error(self.config(vec![0], default_max_new_tokens).check())
    }

    /// Rollout settings with these stop tokens; `default` is the value of --max-new-tokens when it
    /// is not given.
    pub fn config(&self, stop_token_ids: Vec<u32>, default: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let max_new_tokens = self.max_new_tokens.map_or(default, NonZeroUsize::get);
        let group_size = self.group_size.get();
        let sampler = Sampler::new(strategy);
        let config = RolloutConfig::new(group_size, sampler, max_new_tokens, stop_token_ids);
        self.limits.limit(config)
    }
}

/// Flags that choose the reward function.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardFnFlags {
    /// Reward function: rule (1 if the answer is right), exact (1 if the completion is the answer
    /// and nothing else), program (see --reward-program), code (1 if the completion's Python passes
    /// the tests of its row; it is run, in a sandbox), judge (the score of --judge-model), random
    /// (a control), or a reward model: a folder, a run's folder, or owner/name on the Hub [default:
    /// program with --reward-program, else rule]
    #[arg(long, value_name = "REWARD")]
    pub reward: Option<String>,
    /// Reward program.
    #[command(flatten)]
    pub program: RewardProgramFlags,
    /// Values of right and wrong completions.
    #[command(flatten)]
    pub outcome: OutcomeRewardFlags,
    /// With --reward rule, credit for a wrong answer that is at least a number, from 0
    /// (--wrong-reward) to 1 (--correct-reward); not for arithmetic
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
    /// A usage error when --format-reward, --correct-reward or --wrong-reward has no effect.
    pub fn check(&self, data: &str) -> Result<()> {
        match self.source() {
            "rule" | "exact" | "code" => self.outcome.rewards().map(drop)?,
            _ => self.outcome.ensure_unused()?,
        }
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
    pub fn open_prompts(&self, data: &DataFlags) -> Result<MappedSource> {
        let data = data.open_source()?;
        Ok(match self.source() {
            "rule" | "exact" => data,
            "code" => data.with_default_columns(ExampleColumns::Code),
            _ => data.with_default_columns(ExampleColumns::AnyPrompt),
        })
    }

    /// Checks that the rule can reward the right answer of each of `examples`, which are those of
    /// `data`, or that they have tests.
    ///
    /// # Errors
    /// Names an answer without a number, or the missing tests.
    pub fn check_answers(&self, data: &str, examples: &[Example]) -> Result<()> {
        let untested = examples.iter().any(|example| example.tests.is_empty());
        if self.source() == "code" && untested {
            bail!("{data}: --reward code needs rows with tests: a column tests, or test_list");
        }
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

    /// Reward function for completions of prompts from `data` by a policy with `chat_tokenizer`, in
    /// a run with these chat `variables`. Prints a note if a reward model has another tokenizer.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open_reward_fn(
        &self,
        data: &str,
        chat_tokenizer: &ChatTokenizer,
        batch_size: usize,
        variables: &ChatVariables,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let outcome = self.outcome.rewards()?;
        let (reward_fn, name) = match (self.source(), data) {
            ("program", _) => return self.program.open_reward_fn(),
            ("judge", _) => {
                let counter = ScoringCounter::default();
                return self.program.judge.open_reward_fn(variables, device, counter);
            }
            ("code", _) => return Ok(outcome.apply(self.program.code.open_reward_fn()?)),
            ("rule", "arithmetic") | ("exact", _) => {
                (reward_fn::exact_match_reward_fn(), "exact".to_string())
            }
            ("rule", _) => (
                reward_fn::final_answer_reward_fn(self.format_reward),
                format!("final answer, {} for the form", self.format_reward),
            ),
            // The name that checkpoints from before the renaming hold.
            ("random" | "chance", _) => (reward_fn::random_reward_fn(), "chance".to_string()),
            (source, _) => {
                let counter = ScoringCounter::default();
                let (reward_model, tokenizer) = open_reward_model(
                    source,
                    chat_tokenizer,
                    batch_size,
                    variables,
                    device,
                    counter,
                )?;
                if tokenizer == RewardTokenizer::Other {
                    println!(
                        "the reward model has another tokenizer than the policy: completions are \
                         tokenized again for it"
                    );
                }
                return Ok(reward_model);
            }
        };
        let named = NamedRewardFn { max_reward: Some(1.), ..NamedRewardFn::new(reward_fn, name) };
        Ok(if matches!(self.source(), "rule" | "exact") { outcome.apply(named) } else { named })
    }
}
