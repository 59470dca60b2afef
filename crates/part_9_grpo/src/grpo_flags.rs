//! Flags of GRPO: method, advantages, and the objective.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::{non_negative, positive, probability};
use experiment::program::ensure_usage;
use ppo::Clip;
use serde::Serialize;

use crate::advantage::Baseline;
use crate::aggregation::Aggregation;
use crate::config::AdvantageConfig;
use crate::kl::KlLoss;
use crate::method::Method;
use crate::objective::{LossLevel, Objective};
use crate::overlong::OverlongHandling;
use crate::ref_sync_flags::RefSyncFlags;
use crate::reference::ReferenceUpdate;

/// Flags of the objective. A flag without a value has the default of the method.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct GrpoObjectiveFlags {
    /// Method, which sets the defaults of --baseline, --clip-range, --loss-aggregation and
    /// --kl-coef
    #[arg(long, value_enum, default_value_t, display_order = 0)]
    pub method: Method,
    /// Baseline and scaling of the advantages [default: that of --method]
    #[arg(long, value_enum)]
    pub baseline: Option<Baseline>,
    /// KL coefficient β of the loss; 0 (as in DAPO and Dr. GRPO): no reference model [default: that
    /// of --method]
    #[arg(
        long, visible_alias = "beta", alias = "kl-coeff", value_name = "X",
        value_parser = non_negative
    )]
    pub kl_coef: Option<f64>,
    /// Clip range ε: no gradient when the ratio is below 1 - ε [default: that of --method]
    #[arg(
        long, visible_alias = "epsilon",
        aliases = ["clip-ratio", "epsilon-low", "clip", "cliprange"], value_name = "X",
        value_parser = probability
    )]
    pub clip_range: Option<f64>,
    /// Upper clip range: no gradient when the ratio is above 1 + X (DAPO) [default: --clip-range]
    #[arg(long, visible_alias = "epsilon-high", value_name = "X", value_parser = positive)]
    pub clip_range_high: Option<f64>,
    /// Loss aggregation: per token (DAPO), per sequence (GRPO's paper), by Dr. GRPO's constant, or
    /// per completion [default: that of --method; completion with --objective sequence]
    #[arg(long, visible_alias = "loss-type", alias = "aggregation", value_enum)]
    pub loss_aggregation: Option<Aggregation>,
    /// Loss of each token, or of each completion as one action
    #[arg(long, value_enum, default_value_t = LossLevel::Token)]
    pub objective: LossLevel,
    /// KL estimator of the loss [default: k3-weighted; the squared log-ratio with --objective
    /// sequence]
    #[arg(long, alias = "kl", value_enum)]
    pub kl_estimator: Option<KlLoss>,
    /// ε added to the standard deviation that divides the advantages
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = non_negative)]
    pub advantage_epsilon: f64,
    /// Flags of the reference model's updates.
    #[command(flatten)]
    pub ref_sync: RefSyncFlags,
    /// Truncated importance sampling, TRL's mode token_truncate: cap on π_old / π_behavior of each
    /// token [default: no correction]
    #[arg(
        long, visible_alias = "vllm-importance-sampling-cap", alias = "importance-cap",
        value_name = "C", value_parser = positive
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
    /// Checks the combination of flags, for groups of `group_size` completions of at most
    /// `max_new_tokens` tokens and `num_iterations` optimizer steps per rollout.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when flags contradict each other, the
    /// baseline needs a larger group, or the overlong buffer is longer than a completion.
    pub fn check(
        &self,
        group_size: usize,
        max_new_tokens: usize,
        num_iterations: usize,
    ) -> Result<()> {
        ensure_usage(
            group_size > 1 || !self.baseline().is_of_group(),
            "--group-size 1: a completion has nothing to be compared with, so every advantage \
             would be 0",
        )?;
        let buffer = self.overlong_buffer.map_or(0, NonZeroUsize::get);
        ensure_usage(
            buffer <= max_new_tokens,
            format!(
                "--overlong-buffer {buffer} is more than the {max_new_tokens} tokens of a \
                 completion"
            ),
        )?;
        self.ref_sync.check(self.kl_coef())?;
        ensure_usage(
            self.clip_range().is_some() || self.clip_range_high.is_none(),
            "--clip-range-high needs a --clip-range, which this --method does not have",
        )?;
        if self.objective == LossLevel::Token {
            return Ok(());
        }
        ensure_usage(
            num_iterations == 1 && self.importance_sampling_cap.is_none(),
            "--objective sequence has no ratio: it takes one optimizer step per rollout, without \
             --importance-sampling-cap",
        )?;
        ensure_usage(
            self.clip_range.is_none() && self.clip_range_high.is_none(),
            "--objective sequence has no ratio, so nothing is clipped: omit --clip-range",
        )?;
        ensure_usage(
            self.kl_estimator.is_none(),
            "--objective sequence penalizes the squared log-ratio of a completion: omit \
             --kl-estimator",
        )
    }

    fn baseline(&self) -> Baseline {
        self.baseline.unwrap_or(self.method.baseline())
    }

    fn kl_coef(&self) -> f64 {
        self.kl_coef.unwrap_or(self.method.kl_coef())
    }

    fn clip_range(&self) -> Option<f64> {
        let default = match self.objective {
            LossLevel::Token => self.method.clip_range(),
            LossLevel::Sequence => None,
        };
        self.clip_range.or(default)
    }

    /// Loss of a step.
    pub fn objective(&self) -> Objective {
        let clip = |low| Clip { low, high: self.clip_range_high.unwrap_or(low) };
        Objective {
            level: self.objective,
            clip_range: self.clip_range().map(clip),
            kl: (self.kl_coef() > 0.)
                .then_some((self.kl_estimator.unwrap_or_default(), self.kl_coef())),
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
        AdvantageConfig {
            overlong,
            baseline: self.baseline(),
            advantage_epsilon: self.advantage_epsilon,
            loss_aggregation: self.loss_aggregation.unwrap_or(match self.objective {
                LossLevel::Token => self.method.loss_aggregation(),
                LossLevel::Sequence => Aggregation::Completion,
            }),
        }
    }

    /// Update rule of the reference model; `None` without one.
    pub fn reference_update(&self) -> Option<ReferenceUpdate> {
        (self.kl_coef() > 0.).then_some(self.ref_sync.update())
    }
}
