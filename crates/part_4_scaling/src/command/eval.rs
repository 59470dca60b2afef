//! `part_4 eval`: a model's loss on text, per token and per byte.

use anyhow::{Context, Result};
use modern::{Checkpoint, LoadMode};

use super::arguments::EvalArgs;
use super::sample::resolve_model_folder;
use crate::dataset::tokenize_for_eval;
use crate::evaluation::{LmEvalConfig, evaluate};
use crate::{Corpus, Dataset};

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let folder = resolve_model_folder(&args.model);
    let checkpoint = Checkpoint::open(&folder.to_string_lossy(), LoadMode::Inference, &device)?;
    let Checkpoint { model, tokenizer, .. } = &checkpoint;
    let extent = LmEvalConfig { batch_size: args.batch_size.get(), max_windows: None };
    let found = match Dataset::exists_at(&args.data) {
        true => evaluate(model, &Dataset::open(&args.data)?.validation, extent)?,
        false => {
            let aside = tempfile::tempdir().context("making a folder for the tokens")?;
            let tokens = tokenize_for_eval(&Corpus::open(&args.data)?, tokenizer, aside.path())?;
            evaluate(model, &tokens, extent)?
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        let (loss, bits, n) = (found.loss, found.bits_per_byte, found.tokens);
        println!("loss {loss:.4} nats per token, {bits:.4} bits per byte, over {n} tokens");
    }
    Ok(())
}
