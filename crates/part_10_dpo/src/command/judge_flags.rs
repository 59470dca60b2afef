//! Flags of a model whose completions a judge scores, shared by `best-of-n` and `revise`.

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use experiment::number::positive;
use experiment::program::as_usage_error;
use grpo::WeightedRewards;
use modern::{Sampler, SamplingStrategy};
use ppo::RolloutConfig;
use ppo::flags::RewardProgramFlags;
use ppo::reward_fn::NamedRewardFn;
use sft::ChatTokenizer;
use sft::model_flags::FinetunedFlags;

/// Texts that a reward model reads at a time.
const BATCH_SIZE: usize = 64;

/// Model, its judge, and how it samples.
#[derive(Args)]
pub(super) struct JudgedModelFlags {
    #[command(flatten)]
    pub(super) finetuned: FinetunedFlags,
    /// Judge: a reward model of part 7, or a weighted sum of rewards as in part 9
    #[arg(long, value_name = "REWARDS")]
    judge: String,
    #[command(flatten)]
    pub(super) program: RewardProgramFlags,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = positive)]
    temperature: f64,
}

impl JudgedModelFlags {
    /// The judge.
    ///
    /// # Errors
    /// A usage error when it cannot be parsed, or a program or a judge model is missing or unused.
    pub(super) fn judge(&self) -> Result<WeightedRewards> {
        let rewards = as_usage_error(WeightedRewards::parse(&self.judge))?;
        self.program.check(|name| rewards.has(name))?;
        Ok(rewards)
    }

    /// Reward function of the judge `rewards` for completions of the model, whose chat variables a
    /// reward model without its own reads.
    ///
    /// # Errors
    /// Those of [`WeightedRewards::open_reward_fn`].
    pub(super) fn open_reward_fn(
        &self,
        rewards: &WeightedRewards,
        chat_tokenizer: &ChatTokenizer,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let variables = self.finetuned.chat_template.variables(&self.finetuned.model)?;
        let program = &self.program;
        rewards.open_reward_fn(program, chat_tokenizer, BATCH_SIZE, &variables, device)
    }

    /// Sampling of `n` completions per prompt, of at most `max_new_tokens` tokens.
    pub(super) fn rollout(
        &self,
        n: usize,
        max_new_tokens: usize,
        chat_tokenizer: &ChatTokenizer,
    ) -> RolloutConfig {
        let strategy = SamplingStrategy::new(self.temperature, None, None, None);
        let stop_token_ids = chat_tokenizer.stop_token_ids().to_vec();
        RolloutConfig::new(n, Sampler::new(strategy), max_new_tokens, stop_token_ids)
    }
}
