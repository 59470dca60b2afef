//! Flags of the PPO objective.

use std::num::NonZeroUsize;

use clap::Args;
use experiment::number::{non_negative, positive};
use serde::Serialize;
use sft::flags::LoraFlags;

use crate::critic::CriticBackbone;
use crate::losses::{Clip, LossWeights};

/// Flags of the PPO objective: clipping, value loss, entropy bonus, PTX loss.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct PpoObjectiveFlags {
    /// Optimization epochs over each rollout
    #[arg(
        long,
        visible_alias = "num-ppo-epochs",
        alias = "epochs",
        value_name = "N",
        default_value = "2"
    )]
    pub ppo_epochs: NonZeroUsize,
    /// Minibatches per epoch, one optimizer step each, of equal numbers of prompts
    #[arg(
        long,
        visible_alias = "num-mini-batches",
        alias = "mini-batches",
        value_name = "N",
        default_value = "2"
    )]
    pub num_minibatches: NonZeroUsize,
    /// Clip range ε of the policy ratio: no gradient beyond 1 ± ε
    #[arg(
        long, visible_aliases = ["cliprange", "epsilon"], alias = "clip", value_name = "X",
        default_value_t = 0.2, allow_negative_numbers = true, value_parser = positive
    )]
    pub clip_range: f64,
    /// Clip range of the values around those of the rollout; 0: no value clipping
    #[arg(
        long, visible_alias = "cliprange-value", alias = "value-clip", value_name = "X",
        default_value_t = 0.2, allow_negative_numbers = true, value_parser = non_negative
    )]
    pub value_clip_range: f64,
    /// Value loss coefficient
    #[arg(
        long, visible_alias = "vf-coef", value_name = "X", default_value_t = 0.5,
        allow_negative_numbers = true, value_parser = non_negative
    )]
    pub value_coef: f64,
    /// Entropy bonus coefficient, per nat
    #[arg(
        long, value_name = "X", default_value_t = 0., allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub entropy_coef: f64,
    /// Stop the epochs over a rollout when the KL to the rollout policy exceeds X nats per token
    #[arg(
        long, visible_alias = "target-kl", alias = "max-kl", value_name = "X",
        allow_negative_numbers = true, value_parser = positive
    )]
    pub early_stop_kl: Option<f64>,
    /// Backbone of the critic [default: separate; with LoRA, shared with the policy]
    #[arg(long, value_enum)]
    pub critic: Option<CriticBackbone>,
    /// Learning rate of the critic, as a multiple of --lr
    #[arg(
        long, alias = "critic-rate", value_name = "X", default_value_t = 5.,
        allow_negative_numbers = true, value_parser = positive
    )]
    pub critic_lr_multiplier: f64,
    /// PTX coefficient (PPO-ptx): weight of the SFT loss on the completions of --data
    #[arg(
        long, alias = "mix-coef", value_name = "X", default_value_t = 0.,
        allow_negative_numbers = true, value_parser = non_negative
    )]
    pub ptx_coef: f64,
}

impl PpoObjectiveFlags {
    /// Clip range of the ratio.
    pub fn clip_range(&self) -> Clip {
        Clip::symmetric(self.clip_range)
    }

    /// Clip range of the values; `None` for 0.
    pub fn value_clip_range(&self) -> Option<f64> {
        Some(self.value_clip_range).filter(|&clip| clip > 0.)
    }

    /// Backbone of the critic. With LoRA the default is shared: a separate backbone would be
    /// trained as a whole and take the memory that LoRA saves.
    pub fn critic_backbone(&self, lora: &LoraFlags) -> CriticBackbone {
        let default = if lora.lora_rank.is_some() {
            CriticBackbone::Shared
        } else {
            CriticBackbone::Separate
        };
        self.critic.unwrap_or(default)
    }

    /// Coefficients of the value loss and the entropy bonus.
    pub fn loss_weights(&self) -> LossWeights {
        LossWeights { value_coef: self.value_coef, entropy_coef: self.entropy_coef }
    }
}
