//! Flags of PPO, for this part and later ones.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use modern::{Choice, Sampler};
use serde::Serialize;
use sft::Speech;
use tiny_gpt::command::usage;
use tiny_gpt::flags::{non_negative, positive, share, temperature};

use crate::critic::Trunk;
use crate::experience::{RewardConfig, Scale};
use crate::gae::Discount;
use crate::kl::{KlControl, KlEstimator};
use crate::losses::{Clip, Weights};
use crate::rollout::RolloutConfig;
use crate::scorer::{self, Scorer};

/// How responses are written.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct RolloutFlags {
    /// Responses to each prompt
    #[arg(long, value_name = "N", default_value = "8")]
    pub samples: NonZeroUsize,
    /// Longest response, in tokens [default: 8 for arithmetic, else 64]
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Below 1 likelier tokens, above 1 wilder ones
    #[arg(long, value_name = "T", default_value_t = 1., allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Draw from the K best tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the fewest tokens that hold the share P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = share)]
    pub top_p: Option<f64>,
}

impl RolloutFlags {
    /// # Errors
    /// A usage error when nothing could be learned from such responses.
    pub fn check(&self) -> Result<()> {
        usage(self.with_ends(vec![0], 1).check())
    }

    /// How responses are written by a model that speaks as `speech` does; `usual` is the longest if nothing is said.
    pub fn config(&self, speech: &Speech, usual: usize) -> RolloutConfig {
        self.with_ends(speech.ends().to_vec(), usual)
    }

    fn with_ends(&self, stop: Vec<u32>, usual: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let choice = Choice::at(self.temperature, top_k, self.top_p, None);
        let (samples, sampler) = (self.samples.get(), Sampler::new(choice));
        RolloutConfig { samples, sampler, max_new_tokens: self.longest(usual), stop }
    }

    /// The longest response, `usual` if nothing is said.
    pub fn longest(&self, usual: usize) -> usize {
        self.max_new_tokens.map_or(usual, NonZeroUsize::get)
    }
}

/// Who judges responses.
#[derive(Debug, Clone, Serialize, Args)]
pub struct ScorerFlags {
    /// rule (is the answer right?), chance (to compare with), or a reward model: a folder, a run's folder, or owner/name on the Hub
    #[arg(long, value_name = "SCORER", default_value = "rule")]
    pub reward: String,
    /// By rule, what a wrong number is worth for being one; not of arithmetic, where only the bare answer counts
    #[arg(long, value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub form_credit: f64,
}

impl ScorerFlags {
    /// The scorer that judges answers to `data` given by a policy that speaks as `speech` does. Says so where texts are turned into other
    /// tokens for it.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open(
        &self,
        data: &str,
        speech: &Speech,
        batch_size: usize,
        device: &Device,
    ) -> Result<Box<Scorer>> {
        Ok(match (self.reward.as_str(), data) {
            ("rule", "arithmetic") => scorer::exact(),
            ("rule", _) => scorer::final_answers(self.form_credit),
            ("chance", _) => scorer::chance(),
            (source, _) => {
                let (scorer, other) = scorer::reward_model(source, speech, batch_size, device)?;
                if other {
                    println!(
                        "the reward model has another tokenizer than the policy: it gets responses as text, in tokens of its own"
                    );
                }
                scorer
            }
        })
    }
}

/// What rewards are made of.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct RewardFlags {
    /// What a nat of KL to the reference costs
    #[arg(long, value_name = "X", default_value_t = 0.02, allow_negative_numbers = true, value_parser = non_negative)]
    pub kl_coef: f64,
    /// How it is estimated
    #[arg(long, value_enum, default_value_t)]
    pub kl_estimator: KlEstimator,
    /// Change --kl-coef so that responses stay this many nats from the reference
    #[arg(long, value_name = "X", value_parser = positive)]
    pub kl_target: Option<f64>,
    /// Responses in which it changes
    #[arg(long, value_name = "N", default_value_t = 10_000., value_parser = positive)]
    pub kl_horizon: f64,
    /// Keep scores between minus this and this
    #[arg(long, value_name = "X", value_parser = positive)]
    pub score_clip: Option<f64>,
    /// What a response loses that does not end itself
    #[arg(long, value_name = "X", default_value_t = 1., allow_negative_numbers = true, value_parser = non_negative)]
    pub cut_penalty: f64,
    /// What becomes of rewards before advantages are made of them
    #[arg(long, value_enum, default_value_t)]
    pub rewards: Scale,
    /// What a reward is worth a token later
    #[arg(long, value_name = "X", default_value_t = 1., value_parser = share)]
    pub gamma: f64,
    /// How far rewards are trusted over values
    #[arg(long, value_name = "X", default_value_t = 0.95, allow_negative_numbers = true, value_parser = at_most_1)]
    pub lambda: f64,
}

impl RewardFlags {
    /// How scores become advantages.
    pub fn config(&self) -> RewardConfig {
        RewardConfig {
            discount: Discount { gamma: self.gamma, lambda: self.lambda },
            kl: self.kl_estimator,
            score_clip: self.score_clip,
            cut_penalty: self.cut_penalty,
            rewards: self.rewards,
        }
    }

    /// How much a nat of KL costs.
    pub fn price(&self) -> KlControl {
        let (initial, horizon) = (self.kl_coef, self.kl_horizon);
        let adaptive = |target| KlControl::Adaptive { initial, target, horizon };
        self.kl_target.map_or(KlControl::Fixed(initial), adaptive)
    }
}

/// The objective.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ObjectiveFlags {
    /// Passes over each rollout
    #[arg(long, value_name = "N", default_value = "2")]
    pub epochs: NonZeroUsize,
    /// Optimizer steps in each pass
    #[arg(long, value_name = "N", default_value = "2")]
    pub mini_batches: NonZeroUsize,
    /// How far the ratio may leave 1 and still have a gradient
    #[arg(long, value_name = "X", default_value_t = 0.2, value_parser = positive)]
    pub clip: f64,
    /// How far values may leave those of the rollout; 0 for as far as they like
    #[arg(long, value_name = "X", default_value_t = 0.2, allow_negative_numbers = true, value_parser = non_negative)]
    pub value_clip: f64,
    /// Weight of the value loss
    #[arg(long, value_name = "X", default_value_t = 0.5, allow_negative_numbers = true, value_parser = non_negative)]
    pub value_coef: f64,
    /// Bonus for a nat of entropy
    #[arg(long, value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub entropy_coef: f64,
    /// End the passes over a rollout once the policy is this many nats per token from the one that wrote it
    #[arg(long, value_name = "X", value_parser = positive)]
    pub max_kl: Option<f64>,
    /// On which network values are guessed
    #[arg(long, value_enum, default_value_t)]
    pub critic: Trunk,
    /// The critic's learning rate, in learning rates of the policy
    #[arg(long, value_name = "X", default_value_t = 5., value_parser = positive)]
    pub critic_rate: f64,
    /// Weight of the loss on examples that are mixed in (PPO-ptx)
    #[arg(long, value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub mix_coef: f64,
}

impl ObjectiveFlags {
    /// ε of the ratio.
    pub fn clip(&self) -> Clip {
        Clip::symmetric(self.clip)
    }

    /// ε of the values.
    pub fn value_clip(&self) -> Option<f64> {
        Some(self.value_clip).filter(|&clip| clip > 0.)
    }

    /// What the parts of the loss weigh.
    pub fn weights(&self) -> Weights {
        Weights { value: self.value_coef, entropy: self.entropy_coef }
    }
}

fn at_most_1(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number <= 1. { Ok(number) } else { Err("must be at most 1".into()) }
}
