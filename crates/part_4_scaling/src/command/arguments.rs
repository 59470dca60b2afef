//! The command line of part 4.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tiny_gpt::flags::{ComputeFlags, ModelSizeFlags, SamplingFlags, probability};

use crate::flags::{LogFlags, RunFlags, ScheduleFlags, StepFlags};

/// Where `train` writes unless told otherwise.
pub(crate) const DEFAULT_OUT: &str = "runs/scaling";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Text to learn from [default: little English stories]
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Tokens wanted
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct TokenizerArgs {
    /// A text file, or a folder with .txt files at any depth
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Most tokens: 5 special ones, 256 bytes, and merges while there are any
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    pub(crate) vocab_size: usize,
    /// The folder that gets tokenizer.json and tokenizer_config.json
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "DIR",
        default_value = "runs/tokenizer"
    )]
    pub(crate) out: PathBuf,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Serialize)]
#[command(args_override_self = true)]
pub(crate) struct TrainArgs {
    /// A text file (documents end with <|endoftext|>), a folder of .txt files, or the data folder of an earlier run
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// The run folder: settings, figures, tokens, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// A folder with a tokenizer.json [default: one is trained on the text]
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Most tokens of a tokenizer that is trained
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    /// Share of the documents that is held out, at least one
    #[arg(
        long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true,
        value_parser = probability
    )]
    pub(crate) validation: f64,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) size: ModelSizeFlags,
    /// Heads of keys and values [default: as many as --n-head]
    #[arg(long, value_name = "N")]
    pub(crate) n_kv_head: Option<NonZeroUsize>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) schedule: ScheduleFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) step: StepFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) log: LogFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) run: RunFlags,
}

#[derive(Args)]
pub(crate) struct SampleArgs {
    /// A run folder of `train`, or a model folder
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The text to continue [default: a new one]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prompt: String,
    /// How much to write, in tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// A run folder of `train`, or a model folder
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// A text file or folder, all of which is measured, or the data folder of a run: its held-out documents are
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Windows measured at a time
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) batch_size: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
