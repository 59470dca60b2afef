//! Who judges responses.

use anyhow::{Result, anyhow};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use sft::ChatTokenizer;
use tiny_gpt::command::as_usage_error;

use super::rewards::unit_interval;
use crate::reward_fn::{self, NamedRewardFn};

/// Who judges, and how.
#[derive(Debug, Clone, Serialize, Args)]
pub struct RewardFnFlags {
    /// rule (is the answer right?), chance (to compare with), or a reward model: a folder, a run's folder, or owner/name on the Hub
    #[arg(long, value_name = "SCORER", default_value = "rule")]
    pub reward: String,
    /// By rule, what a wrong number is worth for being one; not of arithmetic, where only the bare answer counts
    #[arg(long, alias = "form-credit", value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = unit_interval)]
    pub format_reward: f64,
}

impl RewardFnFlags {
    /// # Errors
    /// A usage error when there is credit to give and nobody who gives it.
    pub fn check(&self, data: &str) -> Result<()> {
        let gives = self.reward == "rule" && data != "arithmetic";
        as_usage_error(match self.format_reward > 0. && !gives {
            true => Err(anyhow!(
                "--format-reward is given by --reward rule, and not for arithmetic, where only the bare answer counts"
            )),
            false => Ok(()),
        })
    }

    /// Who judges answers to `data` given by a policy that speaks as `speech` does. Says so where texts are turned into other tokens
    /// for it.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open_reward_fn(
        &self,
        data: &str,
        speech: &ChatTokenizer,
        batch_size: usize,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let named =
            |scorer, name: &str| Ok(NamedRewardFn { reward_fn: scorer, name: name.to_string() });
        match (self.reward.as_str(), data) {
            ("rule", "arithmetic") => named(reward_fn::exact_match_reward_fn(), "exact"),
            ("rule", _) => named(
                reward_fn::final_answer_reward_fn(self.format_reward),
                &format!("final answer, {} for the form", self.format_reward),
            ),
            ("chance", _) => named(reward_fn::random_reward_fn(), "chance"),
            (source, _) => {
                let (judge, other) =
                    reward_fn::open_reward_model(source, speech, batch_size, device)?;
                if other {
                    println!(
                        "the reward model has another tokenizer than the policy: it gets responses as text, in tokens of its own"
                    );
                }
                Ok(judge)
            }
        }
    }
}
