//! What is compared.

use anyhow::Result;
use modern::ModelConfig;
use moe::config::{ExpertSelection, LoadBalancing, MoeConfig};
use serde::Serialize;

use crate::arguments::{TrainArgs, moe_config};

/// A way to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// Part 3's model
    Dense,
    /// Experts with the load-balancing loss
    Balanced,
    /// Experts without it
    Unbalanced,
    /// Experts balanced by a bias in place of the loss
    Bias,
}

/// How far a step moves the bias of [`Variant::Bias`], as in DeepSeek-V3.
const BIAS_UPDATE_RATE: f64 = 0.001;

impl Variant {
    /// In tables and plots.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Balanced => "experts, balanced by a loss",
            Self::Unbalanced => "experts, not balanced",
            Self::Bias => "experts, balanced by a bias",
        }
    }

    /// The folder of a run.
    pub(crate) fn folder_name(self, seed: u64) -> String {
        let name = match self {
            Self::Dense => "dense",
            Self::Balanced => "balanced",
            Self::Unbalanced => "unbalanced",
            Self::Bias => "bias",
        };
        format!("{name}-seed-{seed}")
    }

    /// Its experts, in a model that does as much work on a token as `dense`; `None` where there are none.
    ///
    /// # Errors
    /// When the numbers do not fit.
    pub(crate) fn config(self, dense: &ModelConfig, args: &TrainArgs) -> Result<Option<MoeConfig>> {
        let mut config = moe_config(dense, args.experts, args.experts_per_token)?;
        if self == Self::Bias {
            config.router.expert_selection = ExpertSelection::Biased;
        }
        Ok((self != Self::Dense).then_some(config))
    }

    /// What keeps its load even.
    pub(crate) fn load_balancing(self, args: &TrainArgs) -> LoadBalancing {
        LoadBalancing {
            aux_loss_coef: if self == Self::Balanced { args.aux_loss_coef } else { 0. },
            z_loss_coef: args.z_loss_coef,
            bias_update_rate: if self == Self::Bias { BIAS_UPDATE_RATE } else { 0. },
        }
    }
}
