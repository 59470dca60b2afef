//! Flags that choose the reward function of a run.

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;
use datasets::answers::final_answer;
use datasets::{Example, ExampleColumns};
use experiment::number::unit_interval;
use experiment::program::ensure_usage;
use model_io::ChatVariables;
use serde::Serialize;
use sft::flags::DataFlags;
use sft::{ChatTokenizer, MappedSource};

use crate::reward_flags::{OutcomeRewardFlags, RewardProgramFlags};
use crate::reward_fn::{self, NamedRewardFn};
use crate::reward_model_fn::open_reward_model;
use crate::scoring_counter::ScoringCounter;

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
                return open_reward_model(
                    source,
                    chat_tokenizer,
                    batch_size,
                    variables,
                    device,
                    counter,
                );
            }
        };
        let named = NamedRewardFn { max_reward: Some(1.), ..NamedRewardFn::new(reward_fn, name) };
        Ok(if matches!(self.source(), "rule" | "exact") { outcome.apply(named) } else { named })
    }
}
