//! `part_4 eval`: loss of a model on text, in nats per token and bits per byte.

use anyhow::{Context, Result};
use datasets::dataset::tokenize_for_eval;
use datasets::{Dataset, TextCorpus};
use model_io::LoadMode;
use modern::Checkpoint;

use super::arguments::EvalArgs;
use super::sample::resolve_model_folder;
use crate::evaluation::{LmEvalConfig, evaluate};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let folder = resolve_model_folder(&args.model);
    let checkpoint = Checkpoint::open(&folder.to_string_lossy(), LoadMode::Inference, &device)?;
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
