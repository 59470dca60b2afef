//! What an update descends.

use std::num::NonZeroUsize;

use clap::Args;
use serde::Serialize;
use sft::flags::LoraFlags;
use tiny_gpt::flags::{non_negative, positive};

use crate::critic::CriticBackbone;
use crate::losses::{Clip, LossWeights};

/// The objective.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct PpoObjectiveFlags {
    /// Passes over each rollout
    #[arg(
        long,
        visible_alias = "num-ppo-epochs",
        alias = "epochs",
        value_name = "N",
        default_value = "2"
    )]
    pub ppo_epochs: NonZeroUsize,
    /// Optimizer steps in each pass, on equal shares of the prompts
    #[arg(
        long,
        visible_alias = "num-mini-batches",
        alias = "mini-batches",
        value_name = "N",
        default_value = "2"
    )]
    pub num_minibatches: NonZeroUsize,
    /// How far the ratio may leave 1 and still have a gradient
    #[arg(long, visible_aliases = ["cliprange", "epsilon"], alias = "clip", value_name = "X", default_value_t = 0.2, allow_negative_numbers = true, value_parser = positive)]
    pub clip_range: f64,
    /// How far values may leave those of the rollout; 0 for as far as they like
    #[arg(long, visible_alias = "cliprange-value", alias = "value-clip", value_name = "X", default_value_t = 0.2, allow_negative_numbers = true, value_parser = non_negative)]
    pub value_clip_range: f64,
    /// Weight of the value loss
    #[arg(long, visible_alias = "vf-coef", value_name = "X", default_value_t = 0.5, allow_negative_numbers = true, value_parser = non_negative)]
    pub value_coef: f64,
    /// Bonus for a nat of entropy
    #[arg(long, value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub entropy_coef: f64,
    /// End the passes over a rollout once the policy is this many nats per token from the one that wrote it
    #[arg(long, visible_alias = "target-kl", alias = "max-kl", value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub early_stop_kl: Option<f64>,
    /// On which network values are guessed [default: one of its own, with adapters the policy's]
    #[arg(long, value_enum)]
    pub critic: Option<CriticBackbone>,
    /// The critic's learning rate, in learning rates of the policy
    #[arg(long, alias = "critic-rate", value_name = "X", default_value_t = 5., allow_negative_numbers = true, value_parser = positive)]
    pub critic_lr_multiplier: f64,
    /// Weight of the loss on examples that are mixed in (PPO-ptx): the answers that --data wants to its questions
    #[arg(long, alias = "mix-coef", value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub ptx_coef: f64,
}

impl PpoObjectiveFlags {
    /// ε of the ratio.
    pub fn clip_range(&self) -> Clip {
        Clip::symmetric(self.clip_range)
    }

    /// ε of the values.
    pub fn value_clip_range(&self) -> Option<f64> {
        Some(self.value_clip_range).filter(|&clip| clip > 0.)
    }

    /// On which network values are guessed. A network of its own beside a policy with adapters would be trained as a whole, with the
    /// memory that adapters save.
    pub fn critic_backbone(&self, lora: &LoraFlags) -> CriticBackbone {
        let usual = if lora.lora_rank.is_some() {
            CriticBackbone::Shared
        } else {
            CriticBackbone::Separate
        };
        self.critic.unwrap_or(usual)
    }

    /// What the parts of the loss weigh.
    pub fn loss_weights(&self) -> LossWeights {
        LossWeights { value_coef: self.value_coef, entropy_coef: self.entropy_coef }
    }
}
