//! Command line of part 5.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use experiment::flags::ComputeFlags;
use experiment::number::{non_negative, positive};
use experiment::program::as_usage_error;
use model_io::ModelConfig;
use moe::{MoeConfig, RouterConfig};
use tiny_gpt::flags::{ModelSizeFlags, SamplingFlags, TrainFlags};

use crate::variant::Variant;

/// Part 5, mixture of experts: more parameters at the same FLOPs per token.
///
/// Without a subcommand: the demo, which trains a model and shows the routing of a sentence.
#[derive(Parser)]
#[command(name = "part_5", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train dense and MoE models with equal FLOPs per token on the same text and compare them
    Train(Box<TrainArgs>),
    /// Generate text with an MoE model
    Sample(SampleArgs),
}

/// MoE model with as many FLOPs per token as `dense`, routing each token to `k` of `e` experts.
///
/// # Errors
/// A [`UsageError`](experiment::program::UsageError) when `k` is not from 1 to `e`.
pub(crate) fn moe_config(dense: &ModelConfig, e: usize, k: usize) -> Result<MoeConfig> {
    as_usage_error(MoeConfig::with_flops_of(dense, RouterConfig::new(e, k)))
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Number of experts per layer
    #[arg(long, value_name = "E", default_value_t = 4)]
    pub(crate) experts: usize,
    /// Experts per token (top-k routing); gate weights of 2 or more sum to 1, as in Mixtral
    #[arg(long, visible_alias = "top-k", value_name = "K", default_value_t = 1)]
    pub(crate) experts_per_token: usize,
    /// Number of optimizer steps
    #[arg(long, value_name = "N", default_value = "300")]
    pub(crate) steps: NonZeroUsize,
    /// PNG file of the routing picture
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "FILE",
        default_value = "runs/routing.png"
    )]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Text file of byte tokens; its last tenth (over --context-len bytes) is for validation
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Output folder: table, plots, and a run folder per model and seed
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/moe")]
    pub(crate) out: PathBuf,
    /// Number of experts per layer
    #[arg(long, value_name = "E", default_value_t = 4)]
    pub(crate) experts: usize,
    /// Experts per token (routing; --top-k is for sampling); weights of 2 or more sum to 1
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) experts_per_token: usize,
    /// Models to train and compare
    #[arg(
        long, value_enum, value_delimiter = ',',
        default_values_t = [Variant::Dense, Variant::Balanced, Variant::Unbalanced]
    )]
    pub(crate) models: Vec<Variant>,
    /// Number of seeds per model, counted up from --seed
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seeds: NonZeroUsize,
    /// Coefficient of the load-balancing loss (Switch uses 0.01, for much longer runs)
    #[arg(
        long, visible_alias = "router-aux-loss-coef", alias = "balance", value_name = "X",
        default_value_t = 0.03, allow_negative_numbers = true, value_parser = non_negative
    )]
    pub(crate) aux_loss_coef: f64,
    /// Coefficient of the router z-loss
    #[arg(
        long, visible_alias = "router-z-loss-coef", alias = "z-loss", value_name = "X",
        default_value_t = 0.001, allow_negative_numbers = true, value_parser = non_negative
    )]
    pub(crate) z_loss_coef: f64,
    /// Router jitter: training multiplies the router's input by uniform noise from 1 − X to 1 + X
    #[arg(
        long, visible_alias = "router-jitter-noise", alias = "jitter", value_name = "X",
        default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative
    )]
    pub(crate) router_jitter: f64,
    /// Expert capacity as a multiple of the mean load; the excess is dropped [default: unlimited]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = positive)]
    pub(crate) capacity_factor: Option<f64>,
    #[command(flatten)]
    pub(crate) train: TrainFlags,
    #[command(flatten)]
    pub(crate) size: ModelSizeFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct SampleArgs {
    /// Model folder: a Mixtral, or an MoE model written by `train`
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Prompt to continue
    #[arg(long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    pub(crate) prompt: String,
    /// Maximum number of tokens to generate
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}
