//! `part_4 eval`: loss of a model on text, in nats per token and bits per byte.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use datasets::Dataset;
use datasets::dataset::tokenize_for_eval;
use experiment::flags::ComputeFlags;
use experiment::program::as_usage_error;
use modern::Checkpoint;
use modern::flags::ModelFlags;

use super::run_data::open_text;
use crate::evaluation::{LmEvalConfig, evaluate};

#[derive(Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    model: ModelFlags,
    /// Text file or folder, rows with the column `text`, or data folder of a run (evaluates its
    /// validation documents)
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    data: PathBuf,
    /// Tokens per window [default: the model's context length]
    #[arg(long, visible_alias = "block-size", value_name = "N")]
    context_len: Option<NonZeroUsize>,
    /// Windows per forward pass
    #[arg(long, value_name = "N", default_value = "16")]
    batch_size: NonZeroUsize,
    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let checkpoint = args.model.open_for_inference(&device)?;
    let Checkpoint { model, tokenizer, .. } = &checkpoint;
    let batch_size = args.batch_size.get();
    let eval_config = LmEvalConfig {
        batch_size,
        max_windows: None,
        window_len: args.context_len.map(Into::into),
    };
    as_usage_error(eval_config.check(model.config()))?;
    let metrics = match Dataset::exists_at(&args.data) {
        true => evaluate(model, &Dataset::open(&args.data)?.validation, eval_config)?,
        false => {
            let folder =
                tempfile::tempdir().context("creating a temporary folder for the tokens")?;
            let (corpus, _rows) = open_text(&args.data)?;
            let tokens = tokenize_for_eval(&corpus, tokenizer, folder.path())?;
            evaluate(model, &tokens, eval_config)?
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&metrics)?);
    } else {
        let (loss, bits, n) = (metrics.loss, metrics.bits_per_byte, metrics.tokens);
        println!("loss {loss:.4} nats per token, {bits:.4} bits per byte, over {n} tokens");
    }
    Ok(())
}
