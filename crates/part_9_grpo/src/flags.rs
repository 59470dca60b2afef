//! Flags of rollout and objective, and the configurations that they describe. Names of other
//! programs for the same setting are accepted on the command line and in a settings file:
//! `num_generations`, `kl_coeff`, `max_completion_length` and so on.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::number::{non_negative, positive, probability};
use experiment::program::as_usage_error;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::{Clip, RolloutConfig};
use serde::Serialize;

use crate::experience::AdvantageConfig;
use crate::reference::ReferenceUpdate;
use crate::{Aggregation, Baseline, KlLoss, Objective, OverlongHandling};

/// Flags of the rollout: group size and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct GrpoRolloutFlags {
    /// Group size G: completions sampled per prompt
    #[arg(
        long, visible_alias = "num-generations",
        aliases = ["num-completions", "samples", "num-samples"], value_name = "G",
        default_value = "16"
    )]
    pub group_size: NonZeroUsize,
    /// Sampling temperature
    #[arg(
        long, value_name = "T", default_value_t = 1., allow_negative_numbers = true,
        value_parser = positive
    )]
    pub temperature: f64,
    /// Sample from the K most likely tokens [default: from all]
    #[arg(long, value_name = "K")]
    pub top_k: Option<NonZeroUsize>,
    /// Nucleus sampling: sample from the fewest tokens with total probability P [default: from all]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
}

/// Largest number of tokens in one rollout; larger ones are refused before they exhaust the memory.
const MAX_ROLLOUT_TOKENS: usize = 1 << 24;

/// Checks that a rollout of `prompts` prompts, `group_size` completions each, is of reasonable
/// size.
///
/// # Errors
/// A [`UsageError`](experiment::program::UsageError) when it may have more than 2²⁴ tokens.
pub fn check_rollout_size(prompts: usize, group_size: usize, max_new_tokens: usize) -> Result<()> {
    let tokens = prompts.saturating_mul(group_size).saturating_mul(max_new_tokens);
    as_usage_error((|| {
        ensure!(
            tokens <= MAX_ROLLOUT_TOKENS,
            "{prompts} prompts with {group_size} completions of up to {max_new_tokens} tokens \
             exceed the limit of {MAX_ROLLOUT_TOKENS} tokens per rollout"
        );
        Ok(())
    })())
}

impl GrpoRolloutFlags {
    /// Rollout configuration: completions of at most `max_new_tokens` tokens that end with one of
    /// `stop_token_ids`.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when the group size is 1.
    pub fn rollout_config(
        &self,
        max_new_tokens: usize,
        stop_token_ids: Vec<u32>,
    ) -> Result<RolloutConfig> {
        let group_size = self.group_size.get();
        as_usage_error((|| {
            ensure!(
                group_size > 1,
                "--group-size 1: a completion has nothing to be compared with, so every advantage \
                 would be 0"
            );
            Ok(())
        })())?;
        let (top_k, top_p) = (self.top_k.map(NonZeroUsize::get), self.top_p);
        let strategy =
            SamplingStrategy::Random { temperature: self.temperature, top_k, top_p, min_p: None };
        let sampler = Sampler::new(strategy);
        Ok(RolloutConfig { group_size, sampler, max_new_tokens, stop_token_ids })
    }
}

/// Flags of the GRPO objective: baseline, loss aggregation, clipping, KL.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct GrpoObjectiveFlags {
    /// Baseline and scaling of the advantages
    #[arg(long, value_enum, default_value_t = Baseline::GroupStd)]
    pub baseline: Baseline,
    /// ε added to the standard deviation that divides the advantages
    #[arg(
        long, value_name = "X", default_value_t = 1e-4, allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub advantage_epsilon: f64,
    /// Loss aggregation: per token (DAPO), per sequence (GRPO's paper), or by Dr. GRPO's constant
    #[arg(
        long, visible_alias = "loss-type", alias = "aggregation", value_enum,
        default_value_t = Aggregation::Token
    )]
    pub loss_aggregation: Aggregation,
    /// Clip range ε: no gradient when the ratio is below 1 - ε
    #[arg(
        long, visible_alias = "epsilon",
        aliases = ["clip-ratio", "epsilon-low", "clip", "cliprange"], value_name = "X",
        default_value_t = 0.2, allow_negative_numbers = true, value_parser = probability
    )]
    pub clip_range: f64,
    /// Upper clip range: no gradient when the ratio is above 1 + X (DAPO) [default: --clip-range]
    #[arg(
        long, visible_alias = "epsilon-high", value_name = "X", allow_negative_numbers = true,
        value_parser = positive
    )]
    pub clip_range_high: Option<f64>,
    /// KL estimator of the loss
    #[arg(long, alias = "kl", value_enum, default_value_t = KlLoss::K3Weighted)]
    pub kl_estimator: KlLoss,
    /// KL coefficient β of the loss; 0 (as in DAPO and Dr. GRPO): no reference model
    #[arg(
        long, visible_alias = "beta", alias = "kl-coeff", value_name = "X", default_value_t = 0.03,
        allow_negative_numbers = true, value_parser = non_negative
    )]
    pub kl_coef: f64,
    /// Copy the policy to the reference model every N steps; not with LoRA [default: never]
    #[arg(long, alias = "reference-every", value_name = "N", conflicts_with = "lora_rank")]
    pub ref_model_sync_steps: Option<NonZeroUsize>,
    /// Truncated importance sampling: cap on π_old / π_behavior [default: no correction]
    #[arg(
        long, visible_alias = "vllm-importance-sampling-cap", alias = "importance-cap",
        value_name = "C", allow_negative_numbers = true, value_parser = positive
    )]
    pub importance_sampling_cap: Option<f64>,
    /// Exclude truncated completions from the loss (DAPO's overlong filtering)
    #[arg(long, alias = "mask-truncated", conflicts_with = "overlong_buffer")]
    pub mask_truncated_completions: bool,
    /// Overlong penalty (DAPO's soft overlong punishment): rises from 0 to 1 over the last N tokens
    /// before the limit
    #[arg(long, alias = "overlong-margin", value_name = "N")]
    pub overlong_buffer: Option<NonZeroUsize>,
    /// Discount factor γ: 1, because all tokens of a completion share its advantage
    #[arg(long, hide = true, value_name = "1", default_value_t = 1., value_parser = gamma_of_one)]
    pub gamma: f64,
}

fn gamma_of_one(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(1.) => Ok(1.),
        _ => Err(
            "must be 1: all tokens of a completion share its advantage, so nothing is discounted"
                .into(),
        ),
    }
}

impl GrpoObjectiveFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when flags contradict each other, or the
    /// overlong buffer is longer than a completion of `max_new_tokens` tokens.
    pub fn check(&self, max_new_tokens: usize) -> Result<()> {
        as_usage_error((|| {
            let buffer = self.overlong_buffer.map_or(0, NonZeroUsize::get);
            ensure!(
                buffer <= max_new_tokens,
                "--overlong-buffer {buffer} is more than the {max_new_tokens} tokens of a \
                 completion"
            );
            ensure!(
                self.kl_coef > 0. || self.ref_model_sync_steps.is_none(),
                "--ref-model-sync-steps needs a reference model, which --kl-coef 0 disables"
            );
            Ok(())
        })())
    }

    /// Loss per token.
    pub fn objective(&self) -> Objective {
        Objective {
            clip_range: Clip {
                low: self.clip_range,
                high: self.clip_range_high.unwrap_or(self.clip_range),
            },
            kl: (self.kl_coef > 0.).then_some((self.kl_estimator, self.kl_coef)),
            importance_sampling_cap: self.importance_sampling_cap,
        }
    }

    /// Settings of advantages and token weights.
    pub fn advantage_config(&self) -> AdvantageConfig {
        let overlong = match (self.mask_truncated_completions, self.overlong_buffer) {
            (true, _) => OverlongHandling::Masked,
            (false, Some(buffer)) => OverlongHandling::Penalized { buffer: buffer.get() },
            (false, None) => OverlongHandling::None,
        };
        let Self { baseline, advantage_epsilon, loss_aggregation, .. } = *self;
        AdvantageConfig { overlong, baseline, advantage_epsilon, loss_aggregation }
    }

    /// Update rule of the reference model; `None` without one.
    pub fn reference_update(&self) -> Option<ReferenceUpdate> {
        let reference_update = match self.ref_model_sync_steps {
            None => ReferenceUpdate::Fixed,
            Some(interval) => ReferenceUpdate::SyncEvery(interval.get()),
        };
        (self.kl_coef > 0.).then_some(reference_update)
    }
}
