//! Flags of the router of the compared models, and of their dense branch.

use clap::Args;
use experiment::number::unit_interval;
use serde::Serialize;

use crate::GateWeights;

/// Router of the MoE models, and their dense branch.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct RouterFlags {
    /// Number of experts per layer
    #[arg(long, visible_alias = "num-local-experts", value_name = "E", default_value_t = 4)]
    pub(crate) experts: usize,
    /// Experts per token (routing; --top-k is for sampling)
    #[arg(long, visible_alias = "num-experts-per-tok", value_name = "K", default_value_t = 1)]
    pub(crate) experts_per_token: usize,
    /// Weights of the experts' outputs [default: renormalized; with one expert per token scaled]
    #[arg(long, value_enum)]
    pub(crate) gate_weights: Option<GateWeights>,
    /// Weight α of the dense branch of the model `hybrid`, from 0 to 1
    #[arg(
        long, visible_alias = "alpha", value_name = "A", default_value_t = 0.5,
        allow_negative_numbers = true, value_parser = unit_interval
    )]
    pub(crate) dense_weight: f64,
}
