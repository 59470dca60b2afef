//! The command line of part 4.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Part 4, scaling up: subword tokens.
///
/// Without a subcommand, the demo: what merging learns from a text, and how fast.
#[derive(Parser)]
#[command(name = "part_4", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Train a tokenizer on text and save it as tokenizer.json
    Tokenizer(TokenizerArgs),
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Text to learn from [default: little English stories]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Tokens wanted
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub(crate) vocab_size: usize,
}

#[derive(Args)]
pub(crate) struct TokenizerArgs {
    /// A text file, or a folder with .txt files at any depth
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Most tokens: 5 special ones, 256 bytes, and merges while there are any
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    pub(crate) vocab_size: usize,
    /// The folder that gets tokenizer.json and tokenizer_config.json
    #[arg(long, value_name = "DIR", default_value = "runs/tokenizer")]
    pub(crate) out: PathBuf,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}
