//! Flags that choose the reward function.

use anyhow::{Result, anyhow};
use candle_core::Device;
use clap::Args;
use experiment::program::as_usage_error;
use serde::Serialize;
use sft::ChatTokenizer;

use super::rewards::unit_interval;
use crate::reward_fn::{self, NamedRewardFn};

/// Flags that choose the reward function.
#[derive(Debug, Clone, Serialize, Args)]
pub struct RewardFnFlags {
    /// Reward function: rule (1 if the answer is right), random (a control), or a reward model: a
    /// folder, a run's folder, or owner/name on the Hub
    #[arg(long, value_name = "REWARD", default_value = "rule")]
    pub reward: String,
    /// With --reward rule, reward of a wrong answer that is at least a number; not for arithmetic
    #[arg(
        long, alias = "form-credit", value_name = "X", default_value_t = 0.,
        allow_negative_numbers = true, value_parser = unit_interval
    )]
    pub format_reward: f64,
}

impl RewardFnFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A usage error when --format-reward has no effect.
    pub fn check(&self, data: &str) -> Result<()> {
        let gives = self.reward == "rule" && data != "arithmetic";
        as_usage_error(match self.format_reward > 0. && !gives {
            true => Err(anyhow!(
                "--format-reward needs --reward rule and data other than arithmetic, where only \
                 the bare answer is rewarded"
            )),
            false => Ok(()),
        })
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
        let named = |reward_fn, name: &str| Ok(NamedRewardFn { reward_fn, name: name.to_string() });
        match (self.reward.as_str(), data) {
            ("rule", "arithmetic") => named(reward_fn::exact_match_reward_fn(), "exact"),
            ("rule", _) => named(
                reward_fn::final_answer_reward_fn(self.format_reward),
                &format!("final answer, {} for the form", self.format_reward),
            ),
            ("random" | "chance", _) => {
                // The name that checkpoints from before the renaming hold.
                named(reward_fn::random_reward_fn(), "chance")
            }
            (source, _) => {
                let (reward_model, other) =
                    reward_fn::open_reward_model(source, chat_tokenizer, batch_size, device)?;
                if other {
                    println!(
                        "the reward model has another tokenizer than the policy: completions are \
                         tokenized again for it"
                    );
                }
                Ok(reward_model)
            }
        }
    }
}
