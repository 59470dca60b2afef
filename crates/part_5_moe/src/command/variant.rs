//! Model variants that `train` compares.

use anyhow::Result;
use experiment::program::as_usage_error;
use model_io::ModelConfig;
use serde::Serialize;

use super::router_flags::RouterFlags;
use crate::config::{DenseBranch, ExpertSelection, LoadBalancing, MoeConfig, RouterConfig};

/// Model variant: dense, or MoE with a kind of load balancing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// Part 3's dense model
    Dense,
    /// MoE with the load-balancing loss
    Balanced,
    /// MoE without load balancing
    Unbalanced,
    /// MoE with a balancing bias instead of the loss (DeepSeek-V3)
    Bias,
    /// MoE with the load-balancing loss, and a dense branch of weight --dense-weight beside it
    Hybrid,
}

/// Change of the bias of [`Variant::Bias`] per step, as in DeepSeek-V3.
const BIAS_UPDATE_RATE: f64 = 0.001;

impl Variant {
    /// Label in tables and plots.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Balanced => "MoE, load-balancing loss",
            Self::Unbalanced => "MoE, unbalanced",
            Self::Bias => "MoE, balancing bias",
            Self::Hybrid => "MoE with a dense branch",
        }
    }

    /// Name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Balanced => "balanced",
            Self::Unbalanced => "unbalanced",
            Self::Bias => "bias",
            Self::Hybrid => "hybrid",
        }
    }

    /// Folder name of a run.
    pub(crate) fn folder_name(self, seed: u64) -> String {
        format!("{}-seed-{seed}", self.name())
    }

    /// Configuration of an MoE model with the FLOPs per token of `dense`; `None` for the dense
    /// model.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when K is not from 1 to E.
    pub(crate) fn config(
        self,
        dense: &ModelConfig,
        flags: &RouterFlags,
    ) -> Result<Option<MoeConfig>> {
        let mut router = RouterConfig::new(flags.experts, flags.experts_per_token);
        router.gate_weights = flags.gate_weights.unwrap_or(router.gate_weights);
        if self == Self::Bias {
            router.expert_selection = ExpertSelection::Biased;
        }
        let dense_branch = match self {
            Self::Hybrid => DenseBranch::Weighted { dense_weight: flags.dense_weight },
            _ => DenseBranch::None,
        };
        let config = MoeConfig::with_dense_branch(dense, router, dense_branch);
        let config = as_usage_error(config)?;
        Ok((self != Self::Dense).then_some(config))
    }

    /// Load-balancing settings of the variant.
    pub(crate) fn load_balancing(self, aux_loss_coef: f64, z_loss_coef: f64) -> LoadBalancing {
        LoadBalancing {
            aux_loss_coef: match self {
                Self::Balanced | Self::Hybrid => aux_loss_coef,
                _ => 0.,
            },
            z_loss_coef,
            bias_update_rate: if self == Self::Bias { BIAS_UPDATE_RATE } else { 0. },
        }
    }
}

/// MoE model with as many FLOPs per token as `dense`, routing each token to `k` of `e` experts.
///
/// # Errors
/// A [`UsageError`](experiment::program::UsageError) when `k` is not from 1 to `e`.
pub(crate) fn moe_config(dense: &ModelConfig, e: usize, k: usize) -> Result<MoeConfig> {
    as_usage_error(MoeConfig::with_flops_of(dense, RouterConfig::new(e, k)))
}
