//! The command line of part 3.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use modern::flags::{ModelFlags, SamplerFlags, WindowFlags};
use tiny_gpt::flags::{ComputeFlags, ModelSizeFlags, TrainFlags};

/// Part 3, the modern architecture: open the models people use, let them write, measure them; train your own.
///
/// Without a subcommand, the demo: what a cache saves, and a text longer than any memory.
#[derive(Parser)]
#[command(name = "part_3", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a model on a text file, byte by byte, with a choice of parts
    Train(TrainArgs),
    /// Let a model continue a prompt
    Generate(GenerateArgs),
    /// How likely a model finds a text: the log-probability of each token, and the perplexity
    Score(ScoreArgs),
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Training steps
    #[arg(long, value_name = "N", default_value = "400")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

/// The norm before each layer.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NormChoice {
    /// RMSNorm
    Rms,
    /// LayerNorm, as GPT-2
    Layer,
}

/// How a token knows where it stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PositionChoice {
    /// Rotary positions
    Rope,
    /// A learned vector for each, as GPT-2
    Learned,
}

/// The layer that works on each token alone.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MlpChoice {
    /// SwiGLU, 8/3 as wide as the model
    Swiglu,
    /// GELU, 4 times as wide, as GPT-2
    Gelu,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// The text, any file: its bytes are the tokens, the last tenth is held out and must fill a window of --context-len
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// The run folder: settings, metrics, loss curve and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/modern")]
    pub(crate) out: PathBuf,
    /// Norm
    #[arg(long, value_enum, default_value_t = NormChoice::Rms)]
    pub(crate) norm: NormChoice,
    /// Positions
    #[arg(long, value_enum, default_value_t = PositionChoice::Rope)]
    pub(crate) position: PositionChoice,
    /// Feed-forward layer
    #[arg(long, value_enum, default_value_t = MlpChoice::Swiglu)]
    pub(crate) mlp: MlpChoice,
    /// Key heads, each shared by --n-head / N query heads [default: --n-head]
    #[arg(long, value_name = "N")]
    pub(crate) n_kv_head: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) window: WindowFlags,
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
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// The text to continue; special tokens in it are text, too (--ask writes those of a chat)
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prompt: String,
    /// A question to answer, put through the model's chat template
    #[arg(long, value_name = "QUESTION", conflicts_with = "prompt")]
    pub(crate) ask: Option<String>,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampler: SamplerFlags,
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line instead of the text as it comes
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub(crate) text_file: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
