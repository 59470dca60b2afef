//! Command line of part 2.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use datasets::builtin_text::BuiltinText;
use experiment::flags::ComputeFlags;
use tiny_gpt::flags::{ModelSizeFlags, SamplingFlags, TrainFlags};

/// Part 2, a tiny GPT: train a byte-level model on any text, sample from it, evaluate it.
///
/// Without a subcommand: the demo, which trains a small model and prints samples before and after.
#[derive(Parser)]
#[command(name = "part_2", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a model on a text file and save it as a Hugging Face GPT-2 folder
    Train(TrainArgs),
    /// Generate text after a prompt
    Sample(SampleArgs),
    /// Evaluate a model's loss on a text file
    Eval(EvalArgs),
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Built-in text to train on
    #[arg(long, value_enum, default_value_t = BuiltinText::English)]
    pub(crate) text: BuiltinText,
    /// Number of optimizer steps
    #[arg(long, value_name = "N", default_value = "800")]
    pub(crate) steps: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Text file of byte tokens; its last tenth (over --context-len bytes) is for validation
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Run folder: settings, metrics, loss curve and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/tiny-gpt")]
    pub(crate) out: PathBuf,
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
    /// Model folder written by `train`
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Prompt to continue
    #[arg(long, default_value = "\n", hide_default_value = true)]
    pub(crate) prompt: String,
    /// Maximum number of tokens to generate
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

/// Part of a text file to evaluate on.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Split {
    /// Last tenth, held out from training
    Validation,
    /// First nine tenths, used for training
    Train,
    /// Whole text
    All,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// Model folder written by `train`
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Text file to evaluate on
    #[arg(long, visible_alias = "dataset", value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Part of the text
    #[arg(long, value_enum, default_value_t = Split::Validation)]
    pub(crate) split: Split,
    /// Batch size in windows of text
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) batch_size: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
