//! The command line of part 3.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use experiment::flags::ComputeFlags;
use modern::flags::{ModelFlags, SamplerFlags, WindowFlags};
use tiny_gpt::flags::{ModelSizeFlags, TrainFlags};

/// Part 3, the modern architecture: generate with public models, score texts, train your own.
///
/// Without a subcommand, the demo: generation with and without a KV cache, and beyond the context.
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
    /// Train a byte-level model on a text file, with a choice of components
    Train(TrainArgs),
    /// Generate a completion of a prompt
    Generate(GenerateArgs),
    /// Score a text: the log-probability of each token, and the perplexity
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

/// Normalization before each layer.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NormChoice {
    /// RMSNorm
    Rms,
    /// LayerNorm, as in GPT-2
    Layer,
}

/// Position encoding.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PositionChoice {
    /// Rotary position embeddings
    Rope,
    /// Learned position embeddings, as in GPT-2
    Learned,
}

/// Feed-forward layer.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MlpChoice {
    /// SwiGLU of width 8/3 C
    Swiglu,
    /// GELU of width 4 C, as in GPT-2
    Gelu,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Text file, tokenized as bytes; the last tenth is for validation, at least --context-len
    /// bytes
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Run folder: settings, metrics, loss curve and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/modern")]
    pub(crate) out: PathBuf,
    /// Normalization
    #[arg(long, value_enum, default_value_t = NormChoice::Rms)]
    pub(crate) norm: NormChoice,
    /// Position encoding
    #[arg(long, value_enum, default_value_t = PositionChoice::Rope)]
    pub(crate) position: PositionChoice,
    /// Feed-forward layer
    #[arg(long, value_enum, default_value_t = MlpChoice::Swiglu)]
    pub(crate) mlp: MlpChoice,
    /// Key-value heads, each shared by --n-head / N query heads [default: --n-head]
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
    /// Text to continue; special tokens in it are encoded as plain text (see --ask for chats)
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prompt: String,
    /// Question to answer, put through the model's chat template
    #[arg(long, value_name = "QUESTION", conflicts_with = "prompt")]
    pub(crate) ask: Option<String>,
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampler: SamplerFlags,
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line instead of streaming the text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Text file to score
    #[arg(long, value_name = "FILE")]
    pub(crate) text_file: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
