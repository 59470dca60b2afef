//! `part_4 eval`: loss of a model on text, in nats per token and bits per byte.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use datasets::dataset::tokenize_for_eval;
use datasets::{Dataset, TextCorpus};
use experiment::flags::ComputeFlags;
use model_io::LoadMode;
use modern::Checkpoint;

use crate::evaluation::{LmEvalConfig, evaluate};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Run folder of `train`, or model folder
    #[arg(long, visible_alias = "model-name-or-path", value_name = "DIR")]
    model: String,
    /// Text file or folder, or data folder of a run (evaluates its validation documents)
    #[arg(long, visible_alias = "dataset", value_name = "PATH")]
    data: PathBuf,
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
    let checkpoint = Checkpoint::open(&args.model, LoadMode::Inference, &device)?;
    let Checkpoint { model, tokenizer, .. } = &checkpoint;
    let eval_config = LmEvalConfig { batch_size: args.batch_size.get(), max_windows: None };
    let metrics = match Dataset::exists_at(&args.data) {
        true => evaluate(model, &Dataset::open(&args.data)?.validation, eval_config)?,
        false => {
            let folder =
                tempfile::tempdir().context("creating a temporary folder for the tokens")?;
            let corpus = TextCorpus::open(&args.data)?;
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
