//! 9.2 Methods: three policy gradients, each of which adds something to the one before.
//!
//! ```text
//! REINFORCE   baseline: mean of all earlier rewards           one completion per prompt is enough
//! RLOO        baseline: mean of the group's other rewards     needs no history, fits each prompt
//! GRPO        group mean and standard deviation, clipped      several optimizer steps per rollout,
//!             ratio, KL to a reference model in the loss      bounded distance from the start
//! ```

use serde::Serialize;

use crate::advantage::Baseline;
use crate::aggregation::Aggregation;

/// Method of policy optimization, which sets the defaults of other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// --baseline moving-average, no clipping, --loss-aggregation constant, --kl-coef 0;
    /// --group-size 1 is allowed
    Reinforce,
    /// --baseline leave-one-out, no clipping, --loss-aggregation constant, --kl-coef 0
    Rloo,
    /// --baseline group-std, --clip-range 0.2, --loss-aggregation token, --kl-coef 0.03
    #[default]
    Grpo,
}

impl Method {
    /// All methods, the simplest first.
    pub const ALL: [Self; 3] = [Self::Reinforce, Self::Rloo, Self::Grpo];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reinforce => "REINFORCE",
            Self::Rloo => "RLOO",
            Self::Grpo => "GRPO",
        }
    }

    /// Baseline and scaling of the advantages.
    pub fn baseline(self) -> Baseline {
        match self {
            Self::Reinforce => Baseline::MovingAverage,
            Self::Rloo => Baseline::LeaveOneOut,
            Self::Grpo => Baseline::GroupStd,
        }
    }

    /// ε of the clip range; `None` without clipping.
    pub fn clip_range(self) -> Option<f64> {
        match self {
            Self::Reinforce | Self::Rloo => None,
            Self::Grpo => Some(0.2),
        }
    }

    /// Loss aggregation: a sum over the tokens of a completion, or a mean over all tokens.
    pub fn loss_aggregation(self) -> Aggregation {
        match self {
            Self::Reinforce | Self::Rloo => Aggregation::Constant,
            Self::Grpo => Aggregation::Token,
        }
    }

    /// KL coefficient β; 0 without a reference model.
    pub fn kl_coef(self) -> f64 {
        match self {
            Self::Reinforce | Self::Rloo => 0.,
            Self::Grpo => 0.03,
        }
    }
}
