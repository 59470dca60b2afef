//! Arguments of part 5's commands.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::{ComputeFlags, RunFlags};
use experiment::number::{non_negative, positive};
use serde::{Serialize, Serializer};
use tiny_gpt::flags::{ModelSizeFlags, SampleFlags, SamplingFlags, TrainFlags};

use super::router_flags::RouterFlags;
use super::variant::Variant;

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

#[derive(Clone, Args, Serialize)]
#[command(args_override_self = true)]
#[command(mut_arg("out", |arg| arg.default_value("runs/moe").help("Output folder: table, plots, \
    and a run folder per model and seed")))]
#[command(mut_arg("eval_interval", |arg| arg.help("Steps between evaluations on the validation \
    text; 0 evaluates only at the end [default: 200]")))]
#[command(mut_arg("resume", |arg| arg.help("Resume the comparison in --out with its settings: \
    finished runs are kept, the interrupted one goes on bit for bit. More --seeds or --models make \
    it longer")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) size: ModelSizeFlags,
    /// Router of the MoE models.
    #[command(flatten)]
    pub(crate) router: RouterFlags,
    /// Text file of byte tokens; its last tenth (over --context-len bytes) is for validation
    #[arg(long, visible_alias = "dataset", value_name = "FILE", help_heading = "Data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) train: TrainFlags,
    #[command(flatten)]
    pub(crate) load_balancing: LoadBalancingFlags,
    /// Number of seeds per model, counted up from --seed
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Run")]
    pub(crate) seeds: NonZeroUsize,
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
}

/// Flags of the compared models, and of their load balancing.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub(crate) struct LoadBalancingFlags {
    /// Models to train and compare
    #[arg(
        long, value_enum, value_delimiter = ',',
        default_values_t = [Variant::Dense, Variant::Balanced, Variant::Unbalanced]
    )]
    #[serde(serialize_with = "as_one_setting")]
    pub(crate) models: Vec<Variant>,
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
}

/// All models as one setting, as on the command line.
fn as_one_setting<S: Serializer>(models: &[Variant], serializer: S) -> Result<S::Ok, S::Error> {
    let names = models.iter().map(|model| model.name()).collect::<Vec<_>>();
    serializer.serialize_str(&names.join(","))
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
