//! Arguments of part 2's commands.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use datasets::builtin_text::BuiltinText;
use experiment::flags::ComputeFlags;

use crate::flags::SamplingFlags;

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
