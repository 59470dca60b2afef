//! Arguments of the commands of part 4.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use experiment::flags::{ComputeFlags, RunFlags};
use experiment::number::probability;
use serde::Serialize;
use tiny_gpt::flags::{ModelSizeFlags, SamplingFlags};

use crate::flags::{LogFlags, ScheduleFlags, StepFlags};

/// Default run folder of `train`.
pub(crate) const DEFAULT_OUT: &str = "runs/scaling";

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Text file or folder to train the tokenizer on [default: built-in English stories]
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Vocabulary size
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct TokenizerArgs {
    /// Text file, or folder with .txt files at any depth
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Maximum vocabulary size: 5 special tokens, 256 bytes and the learned merges
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    pub(crate) vocab_size: usize,
    /// Output folder for tokenizer.json and tokenizer_config.json
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
    /// Text file (<|endoftext|> between documents), folder of .txt files, or data folder of a run
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Run folder: settings, metrics, tokens, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = DEFAULT_OUT)]
    pub(crate) out: PathBuf,
    /// Folder with a tokenizer.json [default: train one on the text]
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Maximum vocabulary size of the trained tokenizer
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
    /// Fraction of the documents held out for validation (at least one document)
    #[arg(
        long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true,
        value_parser = probability
    )]
    pub(crate) validation: f64,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) size: ModelSizeFlags,
    /// Number of key/value heads (grouped-query attention) [default: --n-head]
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
    /// Run folder of `train`, or model folder
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Text to continue [default: start a new document]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prompt: String,
    /// Maximum number of generated tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// Run folder of `train`, or model folder
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Text file or folder, or data folder of a run (evaluates its validation documents)
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Windows per forward pass
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) batch_size: NonZeroUsize,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
