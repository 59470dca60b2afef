//! The command line of part 5.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use modern::ModelConfig;
use moe::{MoeConfig, RouterConfig};
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::{
    ComputeFlags, ModelSizeFlags, SamplingFlags, TrainFlags, non_negative, positive,
};

use crate::variant::Variant;

/// Part 5, mixture of experts: more parameters for the same work on each token.
///
/// Without a subcommand, the demo: a small model learns, and shows which experts take which tokens.
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
    /// Train dense and mixed models of equal work per token on the same text, and compare them
    Train(Box<TrainArgs>),
    /// Let a model with experts continue a prompt
    Sample(SampleArgs),
}

/// A model that does as much work on a token as `dense`, with `k` of `e` experts for each.
///
/// # Errors
/// A [`UsageError`](tiny_gpt::command::UsageError) when the numbers do not fit.
pub(crate) fn moe_config(dense: &ModelConfig, e: usize, k: usize) -> Result<MoeConfig> {
    as_usage_error(MoeConfig::with_flops_of(dense, RouterConfig::new(e, k)))
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Experts of each layer
    #[arg(long, value_name = "E", default_value_t = 4)]
    pub(crate) experts: usize,
    /// Experts that work on a token; from 2 on their weights add up to 1, as Mixtral's
    #[arg(long, visible_alias = "top-k", value_name = "K", default_value_t = 1)]
    pub(crate) experts_per_token: usize,
    /// Training steps
    #[arg(long, value_name = "N", default_value = "300")]
    pub(crate) steps: NonZeroUsize,
    /// Where the picture goes
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
    /// The text, any file: its bytes are the tokens, the last tenth is held out and must fill a window of --context-len
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// The folder of the comparison: the table, the plots, and a run folder per model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/moe")]
    pub(crate) out: PathBuf,
    /// Experts of each layer
    #[arg(long, value_name = "E", default_value_t = 4)]
    pub(crate) experts: usize,
    /// Experts that work on a token (--top-k is about samples); from 2 on their weights add up to 1, as Mixtral's
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) experts_per_token: usize,
    /// What is trained
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Variant::Dense, Variant::Balanced, Variant::Unbalanced])]
    pub(crate) models: Vec<Variant>,
    /// Runs of each, from different seeds
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seeds: NonZeroUsize,
    /// Weight of the load-balancing loss; Switch's 0.01 is for runs of many more steps
    #[arg(long, visible_alias = "router-aux-loss-coef", alias = "balance", value_name = "X", default_value_t = 0.03, allow_negative_numbers = true, value_parser = non_negative)]
    pub(crate) aux_loss_coef: f64,
    /// Weight of the router z-loss
    #[arg(long, visible_alias = "router-z-loss-coef", alias = "z-loss", value_name = "X", default_value_t = 0.001, allow_negative_numbers = true, value_parser = non_negative)]
    pub(crate) z_loss_coef: f64,
    /// The router's input is multiplied by random numbers from 1 − X to 1 + X
    #[arg(long, visible_alias = "router-jitter-noise", alias = "jitter", value_name = "X", default_value_t = 0., allow_negative_numbers = true, value_parser = non_negative)]
    pub(crate) router_jitter: f64,
    /// An expert drops what is more than X times its fair share of a batch [default: it takes all]
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
    /// A model folder with experts: Mixtral's, or one of `train`
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The text to continue
    #[arg(long, value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    pub(crate) prompt: String,
    /// How much to write, in tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}
